"""Cuts, resumptions, silences, shutdowns: how streams end, and how their sessions go on."""

from __future__ import annotations

import asyncio

import pytest

from airdraft import quantised_row
from airdraft.clock import WallClock
from airdraft.errors import DeadlineError, DrainingError, InternalError, MalformedMessageError, SupersededError, UnknownSessionError
from airdraft.messages import Finish, Open, RuleChoice, Verdict
from cloud.conversation import OUTBOX
from cloud.settings import VerifierSettings
from cloud.verifier import Verifier
from tests.hash_target import MODEL, TOKENIZER_DIGEST, VOCABULARY, HashTarget, contract, response
from tests.verifier_world import LONG_PROMPT, Device, target_of, world
from tests.virtual_time import in_virtual_time


@in_virtual_time
async def test_a_session_resumes_after_a_cut_at_any_moment():
    verifier = world()
    agreed = contract(prompt=LONG_PROMPT, max_new_tokens=60)
    device = Device(verifier, agreed)
    await device.open()
    cuts = 0
    while not device.finished:
        device.send(device.draft(device.true_tokens(3)))
        answer = asyncio.ensure_future(anext(device.answers))
        await asyncio.sleep(0.011 * (cuts % 9))
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        await device.hang_up()
        await device.resume(verifier)
        cuts += 1
        if not device.finished and cuts % 3 == 0:
            await device.round_trip(device.true_tokens(2))
    assert device.response == response(agreed)[0] and device.epoch == cuts + 1 and cuts > 5
    assert await device.receive() is None


@in_virtual_time
async def test_resuming_in_stream_mode_goes_on_streaming():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    await device.hang_up()
    await device.resume(verifier, stream=True)
    await device.finish_streaming()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_resuming_ends_the_older_stream_and_takes_over_what_it_had_in_hand():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    older = device.answers
    device.send(device.draft(device.true_tokens(3)))
    answer = asyncio.ensure_future(anext(older))
    await asyncio.sleep(0.001)
    await device.resume(verifier)
    with pytest.raises(SupersededError):
        await answer
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_a_session_returns_within_its_lease_and_not_after_it():
    verifier = world(lease_s=100)
    device = Device(verifier, contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    await device.hang_up()
    await asyncio.sleep(99)
    await device.resume(verifier)
    await device.hang_up()
    await asyncio.sleep(101)
    device.connect(verifier)
    with pytest.raises(UnknownSessionError):
        await device.resume(verifier)


@in_virtual_time
async def test_a_session_re_opens_at_another_verifier_with_what_is_committed():
    device = Device(world(), contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    device.connect(world())
    opened = await device.open(committed=device.response, epoch=2)
    assert (opened.epoch, opened.committed_length) == (2, len(device.committed))
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_a_finished_session_can_be_asked_for_its_end():
    verifier = world()
    device = Device(verifier, contract())
    await device.open(stream=True)
    known = device.committed.copy()
    await device.finish_streaming()
    whole, device.committed = device.response, known
    opened = await device.resume(verifier)
    assert opened.tokens == whole and opened.finish is Finish.LENGTH
    assert await device.receive() is None


@in_virtual_time
async def test_speculative_sampling_runs_over_the_same_protocol():
    device = Device(world(), contract(rule=RuleChoice("speculative_sampling")))
    await device.open()
    while not device.finished:
        tokens = device.true_tokens(2)
        device.send(device.draft(tokens, [quantised_row.certain(token) for token in tokens]))
        verdict = await device.receive()
        assert isinstance(verdict, Verdict)
        device.committed.append((*tokens[: verdict.accepted], *(() if verdict.token is None else (verdict.token,))))
        assert device.committed.digest() == verdict.digest
    assert len(device.response) == 40


@in_virtual_time
async def test_a_silent_device_ends_its_stream_and_can_resume():
    verifier = world(idle_s=30)
    device = Device(verifier, contract())
    await device.open()
    assert isinstance(await device.refusal(), DeadlineError)
    assert asyncio.get_running_loop().time() == pytest.approx(30)
    await device.resume(verifier)
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_a_device_that_takes_no_answers_keeps_no_slot_and_ends():
    verifier = world(slots=1, idle_s=30)
    deaf = Device(verifier, contract(max_new_tokens=200))
    await deaf.open(stream=True)
    await asyncio.sleep(5)
    assert len(target_of(verifier).calls) <= OUTBOX + 1
    other = Device(verifier, contract(prompt=(4, 5)))
    await other.open(stream=True)
    await other.finish_streaming()
    assert asyncio.get_running_loop().time() < 10
    assert isinstance(await slow_end(deaf), DeadlineError)


async def slow_end(device: Device):
    await asyncio.sleep(40)
    return await device.refusal()


@in_virtual_time
async def test_a_device_that_has_no_more_to_say_gets_its_stream_to_the_end():
    device = Device(world(), contract())
    await device.open(stream=True)
    device.send(None)
    await device.finish_streaming()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_hanging_up_while_drafting_ends_in_good_order_and_keeps_the_session():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    device.send(None)
    assert await device.receive() is None
    await device.resume(verifier)


@in_virtual_time
async def test_draining_lets_streams_end_and_admits_nobody():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    verifier.drain()
    newcomer = Device(verifier, contract())
    newcomer.send(Open(newcomer.contract))
    assert isinstance(await newcomer.refusal(), DrainingError) and verifier.describe().load.draining
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_closing_ends_every_stream_in_words():
    verifier = world()
    devices = [Device(verifier, contract()) for _ in range(3)]
    for device in devices:
        await device.open()
    devices[0].send(devices[0].draft(devices[0].true_tokens(3)))
    await asyncio.sleep(0.001)
    await verifier.close()
    assert all([isinstance(await device.refusal(), DrainingError) for device in devices])
    await verifier.close()


@in_virtual_time
async def test_nothing_is_left_behind_by_streams_that_ended():
    verifier = world(finished_lease_s=10)
    for stream in (True, False, True):
        device = Device(verifier, contract())
        await device.open(stream=stream)
        await (device.finish_streaming() if stream else device.finish_drafting())
        await device.hang_up()
    await asyncio.sleep(11)
    assert verifier.describe().load.sessions == 0 and not verifier.sessions._sessions and not verifier._streams
    assert all(slot.owner is None and not slot.pinned for slot in verifier.slots.view())
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_it_describes_what_it_serves_and_how_busy_it_is():
    verifier = world(context=100, sessions=7, max_draft=5)
    device = Device(verifier, contract())
    await device.open()
    description = verifier.describe()
    assert (description.context_limit, description.draft_limit, description.vocabulary_size) == (100, 5, VOCABULARY)
    assert "exact" in description.rules and (description.load.sessions, description.load.session_limit) == (1, 7)


async def test_it_works_in_real_time_on_a_thread_of_its_own():
    clock = WallClock()
    verifier = Verifier(HashTarget(), MODEL, TOKENIZER_DIGEST, clock, VerifierSettings())
    devices = [Device(verifier, contract(prompt=(1, 2, seed))) for seed in range(6)]
    for number, device in enumerate(devices):
        await device.open(stream=number % 2 == 0)
    await asyncio.gather(*(device.finish_drafting() if number % 2 else device.finish_streaming() for number, device in enumerate(devices)))
    assert [device.response for device in devices] == [response(device.contract)[0] for device in devices]
    await verifier.close()
    clock.close()


@in_virtual_time
async def test_counts_add_up():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    await device.finish_drafting(length=4, wrong_at=2)
    counts = verifier.counts
    assert (counts.emitted, counts.rounds, counts.accepted, counts.drafted) == (40, 14, 27, 56)  # 13 × (2 + 1), then 1 to the limit
    assert (counts.opened, counts.finished, counts.stale, counts.replays, counts.streamed) == (1, 1, 0, 0, 0)


@pytest.mark.parametrize("broken", [MalformedMessageError("not a message"), RuntimeError("wire cut")])
@in_virtual_time
async def test_what_breaks_the_reading_ends_the_stream_also_while_it_streams(broken):
    verifier = world()
    device = Device(verifier, contract())
    await device.open(stream=True)
    device.send(broken)
    error = await device.refusal()
    assert type(error).__name__ in ("MalformedMessageError", "UnavailableError")
    assert verifier.counts.errors[error.code] == 1


@in_virtual_time
async def test_a_fault_inside_is_an_internal_error_of_one_stream():
    verifier = world()
    device, other = Device(verifier, contract()), Device(verifier, contract())
    await device.open()
    await other.open()
    verifier._parts.sessions._sessions[device.opened.session_id].rule = None  # type: ignore[assignment,union-attr]  # the planted fault
    device.send(device.draft(()))
    assert isinstance(await device.refusal(), InternalError)
    await other.finish_drafting()
    assert other.response == response(other.contract)[0]
