"""Messages on virtual time: what opening, delay, rate and framing cost, and what a cut does."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from airdraft.errors import UnavailableError
from airdraft.messages import DeviceMessage, Open, VerifierMessage
from orchestration.link import Conditions
from orchestration.link.channels.constant import ConstantChannel
from orchestration.link.window import WindowSettings
from orchestration.simulation import ConnectionSettings, Framing, SimulatedLink, VerifierEntry, run
from tests.hash_target import contract
from tests.simulated_worlds import simulated_verifier

NONE = ConnectionSettings(framing=Framing(tls_bytes=0, header_bytes=0), open_round_trips=0)


def link(conditions: Conditions, settings: ConnectionSettings | None = None) -> SimulatedLink:
    return SimulatedLink(simulated_verifier().entry, ConstantChannel(conditions), settings=settings)


@pytest.mark.parametrize("round_trips", [0, 1, 2, 3])
def test_opening_a_connection_takes_its_round_trips_once(round_trips: int) -> None:
    async def main() -> tuple[float, float]:
        one = link(Conditions(round_trip_s=0.1), ConnectionSettings(open_round_trips=round_trips))
        await one.open()
        first_s = asyncio.get_running_loop().time()
        await one.open()
        second_s = asyncio.get_running_loop().time()
        await one.close()
        return first_s, second_s

    assert run(main()) == (pytest.approx(0.1 * round_trips), pytest.approx(0.1 * round_trips))


def test_a_question_and_its_answer_take_a_round_trip_and_their_bytes_time_on_the_link() -> None:
    async def main() -> tuple[float, SimulatedLink, int]:
        one = link(Conditions(round_trip_s=0.1, uplink_bps=8e3, downlink_bps=80e3), NONE)
        stream = await one.open()
        await stream.send(Open(contract()))
        await stream.receive()
        arrived_s = asyncio.get_running_loop().time()
        traffic = stream.traffic
        bits_s = (traffic.bytes_up + 14) / 1e3 + (traffic.bytes_down + 14) / 1e4
        assert (one.framed.bytes_up, one.framed.bytes_down) == (traffic.bytes_up + 14, traffic.bytes_down + 14)
        await one.close()
        return arrived_s - 0.1 - bits_s, one, traffic.messages_up

    left_s, _, messages = run(main())
    assert left_s == pytest.approx(0.0, abs=1e-9) and messages == 1


def test_framing_is_counted_apart_and_takes_its_time() -> None:
    async def main() -> int:
        one = link(Conditions(), ConnectionSettings(open_round_trips=0))
        stream = await one.open()
        await stream.send(Open(contract()))
        await stream.receive()
        framed, plain = one.framed.bytes_up, stream.traffic.bytes_up
        await one.close()
        return framed - plain

    assert run(main()) == 88


def test_a_cut_ends_streams_and_the_next_one_opens_a_connection_anew() -> None:
    async def main() -> tuple[float, int]:
        one = link(Conditions(round_trip_s=0.1))
        stream = await one.open()
        one.cut()
        with pytest.raises(UnavailableError):
            await stream.receive()
        await one.open()
        took_s = asyncio.get_running_loop().time()
        await one.close()
        return took_s, one.framed.connections

    assert run(main()) == (pytest.approx(0.4), 2)


def test_a_stream_given_up_unanswered_takes_its_connection_with_it() -> None:
    async def main() -> list[int]:
        one = link(Conditions(round_trip_s=0.1))
        connections = []
        for unanswered in (False, True, False):
            stream = await one.open()
            await stream.send(Open(contract()))
            if not unanswered:
                await stream.receive()
            await stream.close()
            connections.append(one.framed.connections)
        await one.close()
        return connections

    assert run(main()) == [1, 1, 2]


def test_describe_takes_a_round_trip() -> None:
    async def main() -> float:
        one = link(Conditions(round_trip_s=0.1), NONE)
        await one.describe()
        await one.close()
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(0.1)


def test_a_closed_link_opens_nothing() -> None:
    async def main() -> None:
        one = link(Conditions())
        await one.close()
        await one.close()
        await one.open()

    with pytest.raises(UnavailableError, match="closed"):
        run(main())


@pytest.mark.parametrize(("prompt_tokens", "extra_round_trips"), [(20, 0), (12_000, 1)])
def test_tcps_window_holds_up_a_long_prompt_and_no_short_one(prompt_tokens: int, extra_round_trips: int) -> None:
    async def main(window: WindowSettings | None) -> float:
        arrived: list[float] = []

        async def converse(incoming: AsyncIterator[DeviceMessage]) -> AsyncIterator[VerifierMessage]:
            async for _ in incoming:
                arrived.append(asyncio.get_running_loop().time())
                return
                yield

        entry = VerifierEntry(converse, simulated_verifier().verifier.describe)
        one = SimulatedLink(entry, ConstantChannel(Conditions(round_trip_s=0.1)), settings=NONE, window=window)
        stream = await one.open()
        await stream.send(Open(contract(prompt=(47,) * prompt_tokens)))
        await stream.receive()
        await one.close()
        return arrived[0]

    small = WindowSettings(initial_bytes=10_000)
    assert run(main(small)) - run(main(None)) == pytest.approx(0.1 * extra_round_trips)
