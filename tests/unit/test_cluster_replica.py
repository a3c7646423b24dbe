"""Replicas and devices with real servers and sockets, and a directory that is asked directly: no Ray, no model."""

from __future__ import annotations

import asyncio

import pytest

from airdraft.errors import CapacityError, InternalError, LinkLostError, SettingsError, UnavailableError
from airdraft.messages import Open
from edge.grpc_transport import GrpcTransport
from edge.replicas import Replicas
from orchestration.cluster.replica import Replica, Watch
from tests.cluster_parts import eventually, parts
from tests.hash_target import contract, response

PROMPT = (1, 2, 3, 1, 2, 3, 1, 2)


def agreed(index: int = 0, max_new_tokens: int = 40):
    return contract((*PROMPT, index), max_new_tokens=max_new_tokens)


def text(index: int = 0, max_new_tokens: int = 40):
    return response(agreed(index, max_new_tokens))[0]


async def test_a_replica_reports_what_it_has_done():
    async with parts() as world:
        replica = await world.replica(0)
        device = await world.device(0)
        assert (await device.answer(agreed())).tokens == text()
        await eventually(lambda: world.desk.directory.snapshot().replicas[0].counts["emitted"] == 40)
        status = world.desk.directory.snapshot().replicas[0]
        assert status.state == "serving" and status.report.address == replica.report().address
        assert status.counts["rounds"] >= 1 and status.counts["forwards"] >= 1 and status.counts["forward_s"] > 0
        told = world.desk.directory.snapshot
        await eventually(lambda: told().devices[0].counts.get("tokens") == 40)
        assert told().devices[0].counts["bytes_up"] == status.counts["bytes_up"] > 0
        assert told().devices[0].counts["bytes_down"] == status.counts["bytes_down"] > 0


async def test_responses_are_spread_over_replicas_and_every_text_is_the_targets_own():
    async with parts(devices={"links": ["loopback", "wifi"]}) as world:
        for index in range(2):
            await world.replica(index)
        devices = [await world.device(index) for index in range(4)]
        answers = await asyncio.gather(*(device.answer(agreed(index)) for index, device in enumerate(devices)))
        assert [answer.tokens for answer in answers] == [text(index) for index in range(4)]
        opened = [replica.report().counts["opened"] for replica in world.replicas.values()]
        assert opened == [2, 2]


async def test_a_drained_replicas_sessions_move_and_none_is_lost():
    async with parts() as world:
        first = await world.replica(0, pace_s=0.01)
        device = await world.device(0)
        answering = asyncio.create_task(device.answer(agreed(max_new_tokens=200)))
        await eventually(lambda: first.report().counts["emitted"] > 5)
        second = await world.replica(1)
        await first.drain(grace_s=0.0)
        answer = await answering
        assert answer.tokens == text(max_new_tokens=200)
        assert answer.statistics.reconnects >= 1 and second.report().counts["opened"] == 1
        assert world.desk.directory.snapshot().replicas[0].state == "draining"
        assert world.desk.directory.assign() == (second.report().address,)


async def test_a_drained_replica_lets_its_sessions_end_within_the_grace():
    async with parts() as world:
        first = await world.replica(0, pace_s=0.002)
        device = await world.device(0)
        answering = asyncio.create_task(device.answer(agreed()))
        await eventually(lambda: first.report().counts["emitted"] > 0)
        await world.replica(1)
        await first.drain(grace_s=60.0)
        answer = await answering
        assert (answer.tokens, answer.statistics.reconnects) == (text(), 0)


async def test_a_replica_that_ends_at_once_hands_its_sessions_over():
    async with parts() as world:
        first = await world.replica(0, pace_s=0.01)
        device = await world.device(0)
        answering = asyncio.create_task(device.answer(agreed(max_new_tokens=200)))
        await eventually(lambda: first.report().counts["emitted"] > 5)
        await world.replica(1)
        await first.stop()
        assert (await answering).tokens == text(max_new_tokens=200)


async def test_a_full_replica_names_another_and_a_device_from_outside_goes_there():
    async with parts() as world:
        full = await world.replica(0, pace_s=0.01, sessions=1)
        await world.replica(1)
        await eventually(lambda: len(full.report().served.peers) == 2)
        outside = GrpcTransport(full.report().address)
        device = await world.device(0)
        device._desk.assign = lambda: _only(full.report().address)  # the directory would send it elsewhere
        holding = asyncio.create_task(device.answer(agreed(max_new_tokens=200)))
        await eventually(lambda: full.report().served.load.sessions == 1)
        stream = await outside.open()
        await stream.send(Open(agreed(1)))
        with pytest.raises(CapacityError) as caught:
            await stream.receive()
        other = world.replicas["verifier-1"].report().address
        assert caught.value.peers == (other,) and other in caught.value.message
        await outside.close()
        assert (await holding).tokens == text(max_new_tokens=200)


async def _only(address: str):
    return (address,)


async def test_a_device_from_outside_finds_the_least_loaded_through_any_of_them():
    async with parts() as world:
        busy = await world.replica(0, pace_s=0.02)
        device = await world.device(0)
        holding = asyncio.create_task(device.answer(agreed(max_new_tokens=100)))
        await eventually(lambda: busy.report().served.load.sessions == 1)
        idle = await world.replica(1)
        await eventually(lambda: busy.report().served.peers == (idle.report().address, busy.report().address))
        replicas = Replicas((busy.report().address,), GrpcTransport)
        await replicas.describe()
        assert replicas.current == idle.report().address
        await replicas.close()
        await holding


async def test_a_dead_devices_place_is_freed_by_its_lease():
    async with parts() as world:
        replica = await world.replica(0, pace_s=0.01, lease_s=0.3)
        device = await world.device(0)
        answering = asyncio.create_task(device.answer(agreed(max_new_tokens=300)))
        await eventually(lambda: replica.report().slots_in_use == 1)
        answering.cancel()
        await asyncio.wait({answering})
        await eventually(lambda: replica.report().slots_in_use == 0)
        assert replica.report().served.load.sessions == 0


async def test_a_target_beyond_help_ends_its_replica():
    faults, given_up = [], []
    async with parts() as world:
        await world.replica(0, watch=Watch(lambda: faults[0] if faults else None, given_up.append, lambda: (7,)))
        assert world.desk.directory.snapshot().replicas[0].report.shard_process_ids == (7,)
        faults.append(UnavailableError("a shard is gone"))
        await eventually(lambda: given_up == faults)


async def test_a_directory_that_is_away_costs_nothing_but_news():
    async with parts() as world:
        await world.replica(0)
        device = await world.device(0)
        assert (await device.answer(agreed())).tokens == text()
        world.desk.is_away = True
        assert (await device.answer(agreed(1))).tokens == text(1)
        fresh = await world.device(1)
        asking = asyncio.create_task(fresh.answer(agreed(2)))
        await eventually(lambda: fresh.report().is_answering)
        world.desk.is_away = False
        assert (await asking).tokens == text(2)
        await eventually(lambda: world.desk.directory.snapshot().replicas[0].counts["emitted"] == 120)


async def test_a_device_waits_for_the_first_verifier_and_gives_up_in_words():
    async with parts() as world:
        device = await world.device(0)
        answering = asyncio.create_task(device.answer(agreed()))
        await eventually(lambda: device.report().is_answering)
        await world.replica(0)
        assert (await answering).tokens == text()
    async with parts() as world:
        device = await world.device(0, fallback={"then": "stop", "deadline_s": 0.1})
        with pytest.raises(UnavailableError, match="found no verifier that serves"):
            await device.answer(agreed())


async def test_a_failed_response_is_counted_and_the_next_one_works():
    async with parts() as world:
        replica = await world.replica(0, pace_s=0.01)
        device = await world.device(0, fallback={"then": "stop", "deadline_s": 0.3})
        answering = asyncio.create_task(device.answer(agreed(max_new_tokens=300)))
        await eventually(lambda: replica.report().counts["emitted"] > 0)
        await replica.stop()
        with pytest.raises(LinkLostError):
            await answering
        await world.replica(1)
        world.desk.directory.drop("verifier-0")
        assert (await device.answer(agreed())).tokens == text()
        assert (device.report().counts["failures"], device.report().counts["responses"]) == (1, 1)


async def test_responses_of_one_device_take_turns():
    async with parts() as world:
        replica = await world.replica(0)
        device = await world.device(0)
        answers = await asyncio.gather(*(device.answer(agreed(index)) for index in range(3)))
        assert [answer.tokens for answer in answers] == [text(index) for index in range(3)]
        assert replica.report().counts["opened"] == 3


async def test_hanging_up_ends_the_response_at_its_next_token():
    async with parts() as world:
        await world.replica(0, pace_s=0.005)
        device = await world.device(0)
        seen = 0
        async for _ in device.stream(agreed(max_new_tokens=400)):
            seen += 1
            device.hang_up()
        assert seen == 1
        assert (await device.answer(agreed())).tokens == text()


async def test_a_response_may_have_settings_of_its_own():
    async with parts() as world:
        replica = await world.replica(0)
        device = await world.device(0)
        settings = device.plan.settings.model_copy(update={"schedule": "stream"})
        assert (await device.answer(agreed(), settings)).tokens == text()
        assert replica.report().counts["streamed"] == 40


async def test_a_replica_that_is_not_serving_yet_says_so_and_can_be_stopped():
    async with parts() as world:
        replica = await world.replica(0)
        fresh = Replica(replica.plan, lambda: _no_model(), world.desk.report_replica)
        with pytest.raises(InternalError, match="not serving yet"):
            fresh.report()
        with pytest.raises(SettingsError, match="no such model"):
            await fresh.start()
        await fresh.stop()


def _no_model():
    raise SettingsError("no such model")
