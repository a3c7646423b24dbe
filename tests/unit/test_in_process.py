"""What only the in-process transport does: a link put between, cuts, and time that jumps. What all transports do is in tests/contract."""

from __future__ import annotations

import asyncio

import pytest

from airdraft.errors import UnavailableError
from airdraft.in_process import IN_FLIGHT_LIMIT, Direction, InProcessTransport
from airdraft.messages import Draft, Verdict
from airdraft.wire.codec import encode_description, encode_device, encode_verifier
from tests.wire_examples import DESCRIPTION, DRAFT, VERDICT


async def echo(incoming):
    async for message in incoming:
        yield Verdict(message.epoch, message.round, VERDICT.outcome, 0, 1, 1, 1, 1)


def draft(number: int) -> Draft:
    return Draft(1, number, 1, 1, (1, 2))


class Gate:
    """A link on which messages wait until they are let through, in any order."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Direction, int, asyncio.Future[None]]] = []
        self.changed = asyncio.Event()

    async def carry(self, direction: Direction, n_bytes: int) -> None:
        arrival = asyncio.get_running_loop().create_future()
        self.waiting.append((direction, n_bytes, arrival))
        self.changed.set()
        await arrival

    async def until(self, count: int) -> None:
        while len(self.waiting) < count:
            self.changed.clear()
            await self.changed.wait()


async def test_the_link_is_told_the_direction_and_the_bytes_of_every_message():
    carried = []

    async def carry(direction, n_bytes):
        carried.append((direction, n_bytes))

    async def once(incoming):
        await anext(incoming)
        yield VERDICT

    transport = InProcessTransport(once, lambda: DESCRIPTION, carry)
    stream = await transport.open()
    await stream.send(DRAFT)
    assert await stream.receive() == VERDICT
    assert await stream.receive() is None
    await transport.describe()
    up, down = len(encode_device(DRAFT)), len(encode_verifier(VERDICT))
    answer = len(encode_description(DESCRIPTION))
    assert carried == [(Direction.UP, up), (Direction.DOWN, down), (Direction.DOWN, 0), (Direction.UP, 0), (Direction.DOWN, answer)]
    await transport.close()


async def test_several_messages_travel_at_once_and_arrive_in_order():
    gate = Gate()
    seen = []

    async def record(incoming):
        async for message in incoming:
            seen.append(message.round)
        yield VERDICT

    transport = InProcessTransport(record, lambda: DESCRIPTION, gate.carry)
    stream = await transport.open()
    for number in range(3):
        await stream.send(draft(number))
    await gate.until(3)
    for _, _, arrival in reversed(gate.waiting):
        assert seen == []
        arrival.set_result(None)
        await asyncio.sleep(0)
    while len(seen) < 3:
        await asyncio.sleep(0)
    assert seen == [0, 1, 2]
    await transport.close()


async def test_an_error_of_the_link_cuts_the_stream_on_both_sides():
    cancelled = asyncio.Event()

    async def carry(direction, n_bytes):
        raise UnavailableError("out of coverage")

    async def wait(incoming):
        try:
            await anext(incoming)
            yield VERDICT
        finally:
            cancelled.set()

    stream = await InProcessTransport(wait, lambda: DESCRIPTION, carry).open()
    await stream.send(DRAFT)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="out of coverage"):
            await stream.receive()
    with pytest.raises(UnavailableError, match="out of coverage"):
        await stream.send(DRAFT)
    await cancelled.wait()


async def test_a_cut_reaches_whoever_waits_and_loses_what_is_in_flight():
    gate = Gate()
    transport = InProcessTransport(echo, lambda: DESCRIPTION, gate.carry)
    stream = await transport.open()
    await stream.send(DRAFT)
    await gate.until(1)
    gate.waiting[0][2].set_result(None)
    await gate.until(2)
    receiving = asyncio.create_task(stream.receive())
    await asyncio.sleep(0)
    transport.cut()
    with pytest.raises(UnavailableError, match="cut"):
        await receiving
    again = await transport.open()
    assert again is not stream
    await transport.close()


async def test_a_sender_waits_when_too_much_is_in_flight_and_is_freed_by_a_close():
    async def deaf(incoming):
        await asyncio.Event().wait()
        yield VERDICT

    stream = await InProcessTransport(deaf, lambda: DESCRIPTION).open()
    for number in range(IN_FLIGHT_LIMIT):
        await stream.send(draft(number))
    sending = [asyncio.create_task(stream.send(draft(0))) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in sending)
    await stream.close()
    await asyncio.gather(*sending)


async def test_back_pressure_ends_when_the_verifier_reads_on():
    stream = await InProcessTransport(echo, lambda: DESCRIPTION).open()
    total = 3 * IN_FLIGHT_LIMIT

    async def send_all():
        for number in range(total):
            await stream.send(draft(number))

    sending = asyncio.create_task(send_all())
    rounds = [(await stream.receive()).round for _ in range(total)]
    await sending
    assert rounds == list(range(total))
    await stream.close()
