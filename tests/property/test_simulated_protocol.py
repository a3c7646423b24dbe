"""The protocol as a whole, in virtual time: the real session against the real verifier, over links that do all that links do.

Whatever is cut, restarted, held up, dropped, doubled or put out of order, and whoever drafts how, the device ends with the target's text.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airdraft.errors import AirdraftError, LinkLostError
from airdraft.journal import ResponseRecord
from airdraft.messages import Contract, Description, DeviceMessage, Open, Opened, Resume, VerifierMessage
from airdraft.settings import Sampling
from airdraft.transport import MessageStream, Traffic
from edge.drafters.prompt_lookup import PromptLookup
from edge.drafters.random_tokens import RandomTokens
from edge.schedules.sequential import Sequential
from edge.schedules.stream import Stream
from edge.seams import Drafter, Schedule
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from orchestration.link import Channel, Conditions, LinkSettings, build
from orchestration.link.channels.constant import ConstantChannel
from orchestration.simulation import Air, Policy, SimulatedDevice, SimulatedVerifier, run
from tests.hash_target import VOCABULARY, contract, response
from tests.simulated_worlds import PHONE, SERVER, Forecaster, served

PATIENT = {"link": {"receive_deadline_s": 1.5, "connect_deadline_s": 2.0}, "fallback": {"then": "wait", "give_up_s": 3000.0}}
EXAMPLES = settings(max_examples=60, deadline=None)


# --- what happens, and when


@dataclass(frozen=True)
class Event:
    """Something that befalls the link or the verifier."""

    at_s: float
    what: str  # "cut": the connection is lost; "restart": the verifier too, with all its sessions; "switch": another schedule takes over


@dataclass
class World:
    """A verifier that may be replaced, and what befalls it and the devices' links."""

    events: list[Event]
    slots: int = 3
    verifier: SimulatedVerifier = field(init=False)
    devices: list[SimulatedDevice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.verifier = SimulatedVerifier(served(self.slots), SERVER)

    def join(self, name: str, policy: Policy, channel: Channel, seed: int = 0) -> SimulatedDevice:
        one = SimulatedDevice(name, policy, PHONE, Air(channel, seed), self.verifier.entry)
        self.devices.append(one)
        return one

    async def run_events(self) -> None:
        loop = asyncio.get_running_loop()
        for event in sorted(self.events, key=lambda event: event.at_s):
            await asyncio.sleep(max(event.at_s - loop.time(), 0.0))
            if event.what == "restart":
                await self.verifier.close()
                self.verifier = SimulatedVerifier(served(self.slots), SERVER, seed=int(event.at_s * 1000))
            for one in self.devices:
                one.link.verifier = self.verifier.entry
                if event.what == "switch":
                    one.session.switch(Sequential() if isinstance(one.session.schedule, Stream) else Stream())
                else:
                    one.link.cut()


EVENTS = st.lists(st.builds(Event, st.floats(0.0, 8.0), st.sampled_from(["cut", "restart", "switch"])), max_size=6)
DRAFTERS = st.sampled_from([lambda: Forecaster(9), lambda: Forecaster(5), lambda: Forecaster(0), RandomTokens, PromptLookup])
SCHEDULES = st.sampled_from([Sequential, Sequential, Stream])
CHANNELS = st.one_of(
    st.sampled_from(["loopback", "wifi", "lte", "bursty", "satellite"]).map(lambda name: LinkSettings(preset=name)),
    st.builds(LinkSettings, preset=st.just("lte"), loss=st.floats(0.0, 0.6)),
    st.builds(
        lambda seed: LinkSettings(preset="5g", channel="outages", parameters={"up_s": 1.0, "outage_s": 2.0}, seed=seed), st.integers(0, 99)
    ),
    st.builds(lambda seed: LinkSettings(preset="5g", channel="gilbert-elliott", seed=seed), st.integers(0, 99)),
    st.builds(
        lambda seed: LinkSettings(channel="rayleigh", parameters={"mean_snr_db": 0.0}, bandwidth_mhz=0.02, seed=seed), st.integers(0, 99)
    ),
)
CONTRACTS = st.builds(
    contract,
    prompt=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6),
    sampling=st.builds(Sampling, temperature=st.sampled_from([0.0, 1.0]), seed=st.integers(0, 2**64 - 1)),
    stop_tokens=st.sampled_from([(), (3,), (3, 4, 5)]),
    max_new_tokens=st.integers(1, 40),
)


@EXAMPLES
@given(agreed=CONTRACTS, drafter=DRAFTERS, schedule=SCHEDULES, k=st.integers(0, 8), link=CHANNELS, events=EVENTS, seed=st.integers(0, 9))
def test_one_device_ends_with_the_targets_text_whatever_befalls_it(
    agreed: Contract, drafter: type[Drafter], schedule: type[Schedule], k: int, link: LinkSettings, events: list[Event], seed: int
) -> None:
    async def main() -> ResponseRecord:
        world = World(events)
        policy = Policy(drafter(), Fixed(k), schedule(), DeviceSettings.parse(PATIENT))
        one = world.join("d", policy, build(link), seed)
        fate = asyncio.create_task(world.run_events())
        record = await one.respond("p", agreed)
        fate.cancel()
        await one.close()
        await world.verifier.close()
        return record

    record = run(main())
    assert (record.tokens, record.finish) == response(agreed)
    assert sum((line.tokens for line in record.rounds), ()) == record.tokens


@settings(max_examples=20, deadline=None)
@given(links=st.lists(CHANNELS, min_size=2, max_size=6), events=EVENTS, chance=st.integers(0, 2**32))
def test_many_devices_at_one_verifier_with_too_few_slots_each_end_with_their_own_text(
    links: list[LinkSettings], events: list[Event], chance: int
) -> None:
    draw = random.Random(chance)
    agreed = [contract(prompt=(number + 1, 7), max_new_tokens=draw.randrange(1, 25)) for number in range(len(links))]

    async def main() -> list[ResponseRecord]:
        world = World(events, slots=2)
        for number, link in enumerate(links):
            drafter = Forecaster(draw.randrange(11))
            policy = Policy(drafter, Fixed(draw.randrange(6)), draw.choice([Sequential, Stream])(), DeviceSettings.parse(PATIENT))
            world.join(f"d{number}", policy, build(link), number)
        fate = asyncio.create_task(world.run_events())
        records = await asyncio.gather(*(one.respond("p", terms) for one, terms in zip(world.devices, agreed, strict=True)))
        fate.cancel()
        await asyncio.gather(*(one.close() for one in world.devices))
        await world.verifier.close()
        return records

    assert [(record.tokens, record.finish) for record in run(main())] == [response(terms) for terms in agreed]


# --- messages that a stream would never treat so


@dataclass
class Mischief:
    """Which message, counted over both directions, meets which fate: "drop", "double", or "swap" with the one behind it."""

    fates: dict[int, str]
    greetings_too: bool = True  # whether Open, Resume and Opened may be, too; a stream that begins otherwise is a fault that ends it
    seen: int = 0

    def next(self, message: DeviceMessage | VerifierMessage) -> str | None:
        self.seen += 1
        fate = self.fates.pop(self.seen, None)
        return fate if self.greetings_too or not isinstance(message, Open | Resume | Opened) else None


class UnrulyStream:
    """A stream whose messages are dropped, doubled and swapped on either way."""

    def __init__(self, inner: MessageStream, mischief: Mischief) -> None:
        self._inner = inner
        self._mischief = mischief
        self._held: DeviceMessage | None = None
        self._ready: list[VerifierMessage | None] = []

    @property
    def traffic(self) -> Traffic:
        return self._inner.traffic

    @traffic.setter
    def traffic(self, value: Traffic) -> None:
        self._inner.traffic = value

    async def send(self, message: DeviceMessage) -> None:
        fate = self._mischief.next(message)
        if fate == "swap" and self._held is None:
            self._held = message
            return
        for _ in range({"drop": 0, "double": 2}.get(fate or "", 1)):
            await self._inner.send(message)
        if self._held is not None:
            held, self._held = self._held, None
            await self._inner.send(held)

    async def receive(self) -> VerifierMessage | None:
        if self._ready:
            return self._ready.pop(0)
        while True:
            message = await self._inner.receive()
            fate = self._mischief.next(message) if message is not None else None
            if fate == "double":
                self._ready.append(message)
            elif fate == "swap":
                self._ready.append(message)
                return await self._inner.receive()
            if fate != "drop":
                return message

    async def close(self) -> None:
        await self._inner.close()


class UnrulyLink:
    """A transport whose streams are unruly; it opens new ones in good order."""

    def __init__(self, inner: SimulatedDevice, mischief: Mischief) -> None:
        self._link = inner.link
        self._mischief = mischief

    async def open(self) -> MessageStream:
        return UnrulyStream(await self._link.open(), self._mischief)

    async def describe(self) -> Description:
        return await self._link.describe()

    async def close(self) -> None:
        await self._link.close()


FATES = st.dictionaries(st.integers(1, 60), st.sampled_from(["drop", "double", "swap"]), max_size=8)


async def unruly(agreed: Contract, policy: Policy, mischief: Mischief, events: list[Event]) -> tuple[int, ...] | AirdraftError:
    """The committed text of a response whose messages met these fates, or the error that ended it."""
    world = World(events)
    one = world.join("d", policy, ConstantChannel(Conditions(round_trip_s=0.05)))
    one.session.transport = UnrulyLink(one, mischief)
    fate = asyncio.create_task(world.run_events())
    committed: list[int] = []
    try:
        async for token in one.session.generate(agreed):
            committed.append(token.id)
            assert committed == list(response(agreed)[0][: len(committed)])
    except AirdraftError as error:
        return error
    finally:
        fate.cancel()
        await one.close()
        await world.verifier.close()
    return tuple(committed)


@EXAMPLES
@given(agreed=CONTRACTS, drafter=DRAFTERS, k=st.integers(0, 8), fates=FATES, events=EVENTS)
def test_dropped_doubled_and_swapped_messages_never_make_a_wrong_token(
    agreed: Contract, drafter: type[Drafter], k: int, fates: dict[int, str], events: list[Event]
) -> None:
    """A stream cannot do this by itself; a faulty middle box can. Either the text comes out whole, or the response ends in words."""
    policy = Policy(drafter(), Fixed(k), Sequential(), DeviceSettings.parse(PATIENT))
    found = run(unruly(agreed, policy, Mischief(dict(fates)), [event for event in events if event.what != "switch"]))
    if isinstance(found, AirdraftError):
        assert found.code.startswith("protocol") and found.message
    else:
        assert found == response(agreed)[0]


@EXAMPLES
@given(
    agreed=CONTRACTS,
    drafter=DRAFTERS,
    k=st.integers(0, 8),
    lost=st.sets(st.integers(1, 60), max_size=8),
    doubled=st.sets(st.integers(1, 60)),
)
def test_lost_and_doubled_messages_only_take_time(
    agreed: Contract, drafter: type[Drafter], k: int, lost: set[int], doubled: set[int]
) -> None:
    fates = {number: "double" for number in doubled} | {number: "drop" for number in lost}
    policy = Policy(drafter(), Fixed(k), Sequential(), DeviceSettings.parse(PATIENT))
    assert run(unruly(agreed, policy, Mischief(fates, greetings_too=False), [])) == response(agreed)[0]


def test_a_device_that_loses_its_verifier_for_good_gives_up_in_words() -> None:
    async def main() -> None:
        world = World([])
        settings = DeviceSettings.parse({"fallback": {"then": "stop", "deadline_s": 2.0}})
        one = world.join("d", Policy(Forecaster(), Fixed(4), Sequential(), settings), build(LinkSettings(preset="lte")))
        async for _ in one.session.generate(contract(max_new_tokens=40)):
            one.link.transit.set_channel(build(LinkSettings(channel="outages", parameters={"up_s": 1e-9, "outage_s": 3000.0})), 0.0)

    with pytest.raises(LinkLostError, match="tokens are committed"):
        run(main())
