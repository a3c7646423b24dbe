"""The proxy with real sockets: bytes arrive whole and in order, no earlier than asked; endings, cuts, outages, back-pressure and limits."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from airdraft.errors import UnavailableError
from orchestration.link import Address, Channel, Conditions, LegState, LinkSettings, LinkState, ShapingProxy, build
from orchestration.link.channels.constant import ConstantChannel
from orchestration.link.pipe import EARLY_S
from orchestration.link.proxy import Limits

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PATIENCE_S = 30.0  # a deadline for a busy machine, not a measure
CLEAR = ConstantChannel(Conditions())


class Outage:
    """Nothing passes, for good."""

    def state(self, at_s: float) -> LinkState:
        return LinkState(LegState(outage=True), LegState(outage=True))


class Far:
    """An upstream server that keeps each connection it gets for the test to use."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[Stream] = asyncio.Queue(maxsize=1000)

    async def next(self) -> Stream:
        return await asyncio.wait_for(self.accepted.get(), PATIENCE_S)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def far_end() -> AsyncIterator[tuple[Far, Address]]:
    far = Far()
    server = await asyncio.start_server(lambda *stream: far.accepted.put_nowait(stream), "127.0.0.1", 0)
    try:
        yield far, Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()


@asynccontextmanager
async def shaped_echo(channel: Channel, **options: object) -> AsyncIterator[ShapingProxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        async with ShapingProxy(Address(*server.sockets[0].getsockname()[:2]), channel, **options) as proxy:  # type: ignore[arg-type]  # passed on
            yield proxy
    finally:
        server.close()


async def connect(address: Address) -> Stream:
    return await asyncio.open_connection(address.host, address.port)


async def receive(reader: asyncio.StreamReader, size: int) -> bytes:
    return await asyncio.wait_for(reader.readexactly(size), PATIENCE_S)


async def ended(reader: asyncio.StreamReader) -> str:
    """How a stream ends, whatever still comes before that."""
    try:
        await asyncio.wait_for(reader.read(), PATIENCE_S)
    except ConnectionError:
        return "reset"
    return "finished"


async def until(holds: object) -> None:
    """Wait for a condition that another task of this loop brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # type: ignore[operator]  # a small lambda
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("preset", ["loopback", "wifi", "5g", "lte"])
async def test_bytes_arrive_whole_and_in_order_both_ways(preset: str) -> None:
    sent = random.Random(preset).randbytes(300_000)
    async with shaped_echo(build(LinkSettings(preset=preset, loss=0.02))) as proxy:
        reader, writer = await connect(proxy.address)
        for start in range(0, len(sent), 7919):
            writer.write(sent[start : start + 7919])
        assert await receive(reader, len(sent)) == sent
        writer.close()
        assert (proxy.counters.up.bytes, proxy.counters.down.bytes) == (len(sent), len(sent))
        assert proxy.counters.up.chunks >= len(sent) / 8192


async def test_an_echo_takes_at_least_the_round_trip_and_the_first_also_pays_for_the_connection() -> None:
    async with shaped_echo(ConstantChannel(Conditions(round_trip_s=0.1))) as proxy:
        started_s = time.perf_counter()
        reader, writer = await connect(proxy.address)
        elapsed_s = []
        for _ in range(2):
            writer.write(b"ping")
            await receive(reader, 4)
            elapsed_s.append(time.perf_counter() - started_s)
            started_s = time.perf_counter()
        writer.close()
    assert elapsed_s[0] >= 0.2 - 3 * EARLY_S
    assert elapsed_s[1] >= 0.1 - 2 * EARLY_S


async def test_a_transfer_takes_at_least_its_bits_over_the_rate_and_connections_share_it() -> None:
    async with shaped_echo(ConstantChannel(Conditions(uplink_bps=4e6))) as proxy:
        streams = [await connect(proxy.address) for _ in range(2)]
        started_s = time.perf_counter()
        for _, writer in streams:
            writer.write(bytes(50_000))
        for reader, _ in streams:
            await receive(reader, 50_000)
        assert time.perf_counter() - started_s >= 0.2 - EARLY_S
        for _, writer in streams:
            writer.close()


async def test_the_far_end_may_speak_first() -> None:
    async with far_end() as (far, address), ShapingProxy(address, ConstantChannel(Conditions(round_trip_s=0.02))) as proxy:
        reader, writer = await connect(proxy.address)
        _, far_writer = await far.next()
        far_writer.write(b"hello")
        assert await receive(reader, 5) == b"hello"
        writer.close()
        far_writer.close()


async def test_an_end_in_good_order_follows_what_is_queued_and_leaves_the_way_back_open() -> None:
    async with far_end() as (far, address), ShapingProxy(address, build(LinkSettings(preset="wifi"))) as proxy:
        reader, writer = await connect(proxy.address)
        writer.write(bytes(100_000))
        writer.write_eof()
        far_reader, far_writer = await far.next()
        assert len(await asyncio.wait_for(far_reader.read(), PATIENCE_S)) == 100_000
        far_writer.write(b"answer")
        far_writer.write_eof()
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"answer"
        await until(lambda: proxy.open_connections == 0)
        writer.close()
        far_writer.close()


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_reset_crosses_the_link(who: str) -> None:
    async with far_end() as (far, address), ShapingProxy(address, ConstantChannel(Conditions(round_trip_s=0.02))) as proxy:
        near = await connect(proxy.address)
        near[1].write(b"x")
        other = await far.next()
        await receive(other[0], 1)
        dies, learns = (near, other) if who == "client" else (other, near)
        dies[1].get_extra_info("socket").setsockopt(*LINGER)
        dies[1].transport.abort()
        assert await ended(learns[0]) == "reset"
        await until(lambda: proxy.open_connections == 0)
        learns[1].close()


async def test_an_upstream_that_died_behind_its_end_does_not_keep_the_connection_for_ever() -> None:
    """It closed, and then answered what still came with a reset, which nobody hears who has read up to the end already."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with far_end() as (far, address), ShapingProxy(address, CLEAR) as proxy:
        reader, writer = await connect(proxy.address)
        _, upstream = await far.next()
        upstream.close()
        assert await ended(reader) == "finished"
        writer.write(b"too late")
        await until(lambda: proxy.counters.up.bytes == 8)
        writer.close()
        await until(lambda: proxy.open_connections == 0)
    assert not faults


async def test_an_upstream_that_is_not_there_closes_the_client_at_once_and_the_proxy_goes_on() -> None:
    async with far_end() as (far, address):
        gone = await asyncio.start_server(echo, "127.0.0.1", 0)
        nowhere = Address(*gone.sockets[0].getsockname()[:2])
        gone.close()
        await gone.wait_closed()
        async with ShapingProxy(nowhere, ConstantChannel(Conditions(round_trip_s=3600.0))) as proxy:
            for _ in range(2):
                reader, writer = await connect(proxy.address)
                await ended(reader)
                writer.close()
            assert (proxy.counters.refused, proxy.open_connections) == (2, 0)
            proxy.upstream = address  # it has come up again
            proxy.set_channel(CLEAR)
            reader, writer = await connect(proxy.address)
            writer.write(b"x")
            far_reader, far_writer = await far.next()
            assert await receive(far_reader, 1) == b"x"
            writer.close()
            far_writer.close()


async def test_a_cut_resets_both_sides_and_new_connections_are_taken() -> None:
    async with far_end() as (far, address), ShapingProxy(address, CLEAR) as proxy:
        reader, writer = await connect(proxy.address)
        writer.write(b"x")
        far_reader, far_writer = await far.next()
        await receive(far_reader, 1)
        proxy.cut()
        assert (await ended(reader), await ended(far_reader)) == ("reset", "reset")
        assert proxy.open_connections == 0
        again = await connect(proxy.address)
        again[1].write(b"y")
        assert await receive((await far.next())[0], 1) == b"y"
        for end in (writer, far_writer, again[1]):
            end.close()


async def test_an_outage_without_end_holds_bytes_and_openings_until_the_channel_changes() -> None:
    async with shaped_echo(CLEAR) as proxy:
        old_reader, old_writer = await connect(proxy.address)
        old_writer.write(b"a")
        await receive(old_reader, 1)
        proxy.set_channel(Outage())
        old_writer.write(b"old")
        new_reader, new_writer = await connect(proxy.address)
        new_writer.write(b"new")
        await until(lambda: proxy.held_bytes == 6)
        assert proxy.counters.up.bytes == 1
        proxy.set_channel(CLEAR)
        assert await receive(old_reader, 3) == b"old"
        assert await receive(new_reader, 3) == b"new"
        old_writer.close()
        new_writer.close()


async def test_bytes_in_flight_are_bounded_and_the_sender_is_held_back() -> None:
    limit_bytes = 64 * 1024
    async with shaped_echo(CLEAR, limits=Limits(in_flight_bytes=limit_bytes)) as proxy:
        reader, writer = await connect(proxy.address)
        writer.write(b"x")
        await receive(reader, 1)
        proxy.set_channel(Outage())
        sent = random.Random(0).randbytes(16 * 1024 * 1024)
        writer.write(sent)
        await until(lambda: proxy.held_bytes >= limit_bytes)
        for _ in range(50):
            await asyncio.sleep(0)  # let the loop read on, if it would
        assert proxy.held_bytes < limit_bytes + 256 * 1024
        assert writer.transport.get_write_buffer_size() > 0
        proxy.set_channel(CLEAR)
        assert await receive(reader, len(sent)) == sent
        writer.close()


async def test_a_far_end_that_does_not_read_holds_up_its_own_connection_only() -> None:
    async with far_end() as (far, address), ShapingProxy(address, CLEAR, limits=Limits(in_flight_bytes=64 * 1024)) as proxy:
        _, deaf_writer = await connect(proxy.address)
        deaf_writer.write(bytes(32 * 1024 * 1024))
        deaf = await far.next()
        await until(lambda: proxy.held_bytes >= 64 * 1024)
        _, writer = await connect(proxy.address)
        writer.write(b"x")
        reader, far_writer = await far.next()
        assert await receive(reader, 1) == b"x"
        for end in (deaf_writer, deaf[1], writer, far_writer):
            end.transport.abort()


async def test_one_connection_too_many_is_closed_and_counted() -> None:
    async with shaped_echo(CLEAR, limits=Limits(connections=1)) as proxy:
        reader, writer = await connect(proxy.address)
        writer.write(b"x")
        await receive(reader, 1)
        refused_reader, refused_writer = await connect(proxy.address)
        await ended(refused_reader)
        assert (proxy.counters.connections, proxy.counters.refused) == (1, 1)
        writer.write(b"y")
        assert await receive(reader, 1) == b"y"
        writer.close()
        refused_writer.close()


async def test_closing_drops_connections_frees_the_port_and_may_be_repeated() -> None:
    async with shaped_echo(CLEAR) as proxy:
        address = proxy.address
        reader, writer = await connect(address)
        writer.write(b"x")
        await receive(reader, 1)
        await proxy.close()
        await proxy.close()
        assert await ended(reader) == "reset"
        writer.close()
        with pytest.raises(ConnectionError):
            await connect(address)
        with pytest.raises(UnavailableError, match="start it first"):
            _ = proxy.address


async def test_an_address_that_cannot_be_had_is_refused_in_words() -> None:
    async with shaped_echo(CLEAR) as proxy:
        with pytest.raises(UnavailableError, match="cannot listen"):
            await ShapingProxy(proxy.upstream, CLEAR, listen=proxy.address).start()


LINGER = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset on close
