"""Several verifiers, one text: where a session goes on when its verifier refuses, drains, dies or says nothing. In virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from airdraft.errors import CapacityError, DrainingError, LinkLostError, SettingsError, UnavailableError, WrongModelError
from edge.replicas import KNOWN_LIMIT, Replicas
from edge.schedules import build
from edge.session import Session
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from tests.edge_world import KnowingDrafter, VirtualClock, World, contract, truth, virtually

A, B, C = "a:1", "b:1", "c:1"


class Cloud:
    """Reference verifiers by address, and what was connected to."""

    def __init__(self, *addresses: str) -> None:
        self.worlds = {address: World() for address in addresses}
        self.connected: list[str] = []
        self.discoveries = 0

    def __getitem__(self, address: str) -> World:
        return self.worlds[address]

    def connect(self, address: str) -> World:
        self.connected.append(address)
        return self.worlds[address]

    def replicas(self, *addresses: str, discover=None) -> Replicas:
        return Replicas(addresses or tuple(self.worlds), self.connect, discover)

    def kill(self, address: str) -> None:
        self[address].down = True
        self[address].restart()


def device(replicas: Replicas, schedule: str = "sequential", **settings) -> Session:
    parts = DeviceSettings.parse({"link": {"seed": 1}, **settings})
    return Session(KnowingDrafter(3), Fixed(4), build(schedule), replicas, VirtualClock(), parts)


async def response(session: Session, seen=None) -> tuple[int, ...]:
    ids = []
    async for token in session.generate(contract()):
        ids.append(token.id)
        if seen:
            seen(len(ids))
    return tuple(ids)


@pytest.mark.parametrize("schedule", ["sequential", "stream"])
@pytest.mark.parametrize("killed_after", range(1, 30, 4))
def test_a_session_goes_on_at_another_verifier_with_the_same_text_when_its_own_is_killed(schedule, killed_after):
    cloud = Cloud(A, B)
    session = device(cloud.replicas(), schedule)

    def seen(count: int) -> None:
        if count == killed_after:
            cloud.kill(A)

    assert virtually(response(session, seen)) == truth(contract())
    assert (cloud[A].verifier.opens, cloud[B].verifier.opens) == (1, 1)


def test_a_session_that_lost_its_link_resumes_at_its_own_verifier():
    cloud = Cloud(A, B)
    cloud[A].cut_after = {2: "cut", 5: "cut"}
    session = device(cloud.replicas())
    assert virtually(response(session)) == truth(contract())
    assert (cloud[A].verifier.opens, cloud[A].verifier.resumes, cloud[B].opened) == (1, 2, 0)


def test_a_verifier_that_restarted_is_opened_anew_and_not_left():
    cloud = Cloud(A, B)
    cloud[A].cut_after = {3: "restart"}
    assert virtually(response(device(cloud.replicas()))) == truth(contract())
    assert (cloud[A].verifier.opens, cloud[B].opened) == (2, 0)


def test_after_two_deaths_a_session_is_back_at_the_first_verifier():
    cloud = Cloud(A, B)

    def seen(count: int) -> None:
        if count == 5:
            cloud.kill(A)
        if count == 20:
            cloud[A].down = False
            cloud.kill(B)

    assert virtually(response(device(cloud.replicas()), seen)) == truth(contract())
    assert (cloud[A].verifier.opens, cloud[B].verifier.opens) == (2, 1)


@pytest.mark.parametrize("refusal", [CapacityError("full", retry_after_s=50.0), DrainingError("going away", retry_after_s=50.0)])
def test_a_refused_session_goes_to_another_verifier_without_the_wait_that_was_asked_for(refusal):
    cloud = Cloud(A, B)
    cloud[A].refusals = [refusal]

    async def timed():
        text = await response(device(cloud.replicas()))
        return text, asyncio.get_running_loop().time()

    text, took_s = virtually(timed())
    assert text == truth(contract()) and took_s < 10
    assert (cloud[A].verifier.opens, cloud[B].verifier.opens) == (0, 1)


def test_when_every_verifier_refuses_the_wait_asked_for_is_kept():
    cloud = Cloud(A, B)
    for address in (A, B):
        cloud[address].refusals = [CapacityError("full", retry_after_s=25.0)]

    async def timed():
        text = await response(device(cloud.replicas()))
        return text, asyncio.get_running_loop().time()

    text, took_s = virtually(timed())
    assert text == truth(contract()) and 25 <= took_s < 40


def test_a_refusal_names_who_has_room_and_that_one_is_next():
    cloud = Cloud(A, B, C)
    cloud[A].refusals = [CapacityError("full", peers=(C,))]
    assert virtually(response(device(cloud.replicas(A)))) == truth(contract())
    assert cloud.connected == [A, C]


def test_a_drained_verifiers_session_moves_in_mid_response():
    cloud = Cloud(A, B)

    def seen(count: int) -> None:
        if count == 10:
            cloud[A]._transport.cut(DrainingError("going away"))

    assert virtually(response(device(cloud.replicas()), seen)) == truth(contract())
    assert (cloud[A].verifier.opens, cloud[A].verifier.resumes, cloud[B].verifier.opens) == (1, 0, 1)


def test_a_verifier_that_says_nothing_is_left_after_the_deadline():
    cloud = Cloud(A, B)
    cloud[A].silent = True
    assert virtually(response(device(cloud.replicas()))) == truth(contract())
    assert cloud[B].verifier.opens == 1


def test_a_full_verifier_in_mid_response_keeps_its_session():
    """Its queue is full, not its house: what the session has there is worth the wait."""
    cloud = Cloud(A, B)

    def seen(count: int) -> None:
        if count == 10:
            cloud[A]._transport.cut(CapacityError("too many rows", retry_after_s=0.1))

    assert virtually(response(device(cloud.replicas()), seen)) == truth(contract())
    assert (cloud[A].verifier.resumes, cloud[B].opened) == (1, 0)


def test_an_error_that_no_other_verifier_mends_ends_the_response():
    cloud = Cloud(A, B)
    cloud[A].refusals = [WrongModelError("another model")]
    with pytest.raises(WrongModelError):
        virtually(response(device(cloud.replicas())))
    assert cloud[B].opened == 0


def test_with_nobody_in_reach_the_link_is_lost_and_somebody_new_is_asked_for():
    cloud = Cloud(A, B, C)
    cloud.kill(A)
    cloud.kill(B)
    asked = []

    async def discover():
        asked.append(1)
        if len(asked) < 3:
            raise UnavailableError("nobody to ask")
        return (C,)

    assert virtually(response(device(cloud.replicas(A, B, discover=discover)))) == truth(contract())
    assert len(asked) == 3 and cloud[C].verifier.opens == 1
    with pytest.raises(LinkLostError):
        virtually(response(device(cloud.replicas(A, B), fallback={"then": "stop"})))


def describing(cloud: Cloud, peers_of: dict[str, tuple[str, ...]]) -> None:
    for address, peers in peers_of.items():
        world = cloud[address]
        served = replace(world._describe(), peers=peers)
        world._transport._describe = lambda served=served: served


def test_a_description_names_the_least_loaded_and_the_next_response_begins_there():
    cloud = Cloud(A, B, C)
    describing(cloud, {A: (C, A, B)})
    replicas = cloud.replicas(A)

    async def ask_and_respond():
        await replicas.describe()
        return await response(device(replicas))

    assert virtually(ask_and_respond()) == truth(contract())
    assert cloud.connected == [A, C]
    assert replicas.addresses == (A, C, B)


PROXY, NEAR = "127.0.0.1:7", "127.0.0.1:8"


@pytest.mark.parametrize("peers, known", [((B, A), (PROXY,)), ((B, PROXY), (PROXY, B))], ids=["proxy", "itself"])
def test_what_a_verifier_behind_a_proxy_names_does_not_lead_around_the_proxy(peers, known):
    cloud = Cloud(PROXY, B)
    describing(cloud, {PROXY: peers})
    cloud[PROXY].refusals = [CapacityError("full", peers=(NEAR,))]
    replicas = cloud.replicas(PROXY)

    async def work():
        await replicas.describe()
        await replicas.prefer((PROXY, *replicas.addresses))
        return await response(device(replicas))

    assert virtually(work()) == truth(contract())
    assert replicas.addresses == known


def test_a_named_verifier_that_cannot_be_reached_is_not_preferred_a_second_time():
    cloud = Cloud(A, C)
    cloud.kill(C)
    describing(cloud, {A: (C, A)})
    replicas = cloud.replicas(A)

    async def twice():
        for _ in range(2):
            await replicas.describe()
            assert await response(device(replicas)) == truth(contract())

    virtually(twice())
    assert cloud[A].verifier.opens == 2
    assert replicas.current == A


def test_describing_finds_the_next_verifier_when_the_first_is_gone():
    cloud = Cloud(A, B)

    async def no_answer():
        raise UnavailableError("nobody listens there")

    cloud[A].describe = no_answer
    replicas = cloud.replicas()
    assert virtually(replicas.describe()).model == "reference"
    assert replicas.current == B


def test_preferring_forgets_the_ways_to_others():
    cloud = Cloud(A, B, C)
    replicas = cloud.replicas(A)

    async def work():
        await response(device(replicas))
        await replicas.prefer((B, C))
        return await response(device(replicas))

    assert virtually(work()) == truth(contract())
    assert replicas.addresses == (B, C)
    assert cloud.connected == [A, B]


def test_addresses_are_needed_and_bounded():
    cloud = Cloud(A)
    with pytest.raises(SettingsError, match="at least one address"):
        Replicas((), cloud.connect)
    replicas = cloud.replicas(A)
    replicas.learn(f"host-{number}:1" for number in range(1000))
    assert len(replicas.addresses) == KNOWN_LIMIT
