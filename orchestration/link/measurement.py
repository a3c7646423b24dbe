"""Does a link deliver what was asked? Echoes and bulk transfers through the real proxy, beside the channel's own figures."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from statistics import median, quantiles

from airdraft.errors import DeadlineError, UnavailableError
from orchestration.link.channel import Channel, Direction, LinkState
from orchestration.link.proxy import Address, ShapingProxy

TOLERANCE_S = 0.002
TOLERANCE_SHARE = 0.05
PUNCTUAL_S = 0.001  # an idle machine wakes a sleeper within a few tenths of this
_REQUEST = struct.Struct("!cQ")  # what to do (e: echo, u: take bytes, d: send bytes), and how many bytes
_BLOCK = bytes(64 * 1024)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    probes: int = 60  # echoes in each of the two series, steady and varied
    probes_s: float = 6.0  # stop a series after so long, but not before `least_probes`
    least_probes: int = 12
    probe_bytes: int = 64
    transfer_s: float = 1.0  # of each bulk transfer, at the rate asked for
    transfer_bytes: int = 16 * 1024 * 1024  # and at most so many
    transfers: int = 3  # each way; the median counts
    seed: int = 0
    deadline_s: float = 120.0  # for the whole measurement


@dataclass(frozen=True, slots=True)
class Echoes:
    """A series of echoes: what the channel asks for at the moments they were sent, what they took, and what they take without the proxy."""

    asked_p50_s: float
    p50_s: float
    p95_s: float
    direct_p50_s: float

    @property
    def error_s(self) -> float:
        """Delivered beyond asked, without what this machine's own sockets cost."""
        return self.p50_s - self.direct_p50_s - self.asked_p50_s

    def is_as_asked(self) -> bool:
        """Within 2 ms or 5 %, whichever is more."""
        return abs(self.error_s) <= max(TOLERANCE_S, TOLERANCE_SHARE * self.asked_p50_s)


@dataclass(frozen=True, slots=True)
class Throughput:
    """One direction's bulk transfer. `asked_bps` is infinite for a link without a rate."""

    asked_bps: float
    delivered_bps: float

    def is_as_asked(self) -> bool:
        """Within 5 %; a link without a rate delivers what the machine can."""
        return math.isinf(self.asked_bps) or abs(self.delivered_bps / self.asked_bps - 1) <= TOLERANCE_SHARE


@dataclass(frozen=True, slots=True)
class LinkMeasurement:
    """One channel, measured.

    Echoes and transfers are judged on the channel without its luck (jitter and loss), of which a short series gets more or less than
    its due share. `varied` is the channel as it is.
    """

    steady: Echoes
    uplink: Throughput
    downlink: Throughput
    varied: Echoes
    timer_late_s: float  # how late this machine ended sleeps of its own meanwhile (upper quartile): what no proxy here could better

    def is_as_asked(self) -> bool:
        """Whether what was delivered is what was asked, within 2 ms or 5 %."""
        return self.steady.is_as_asked() and self.uplink.is_as_asked() and self.downlink.is_as_asked()

    def machine_was_punctual(self) -> bool:
        """Whether a fault that was found is the link's. A busy machine wakes every sleeper late, and can judge no link."""
        return self.timer_late_s <= PUNCTUAL_S


async def measure(channel: Channel, plan: Plan = Plan()) -> LinkMeasurement:
    """Measure a channel through a proxy of its own. Raises DeadlineError when it is too slow for the plan's deadline."""
    steady = _WithoutLuck(channel)
    witness = _Witness()
    try:
        async with asyncio.timeout(plan.deadline_s), _peer() as peer, ShapingProxy(peer.address, steady, seed=plan.seed) as proxy:
            echoes = await _echoes(peer, proxy, plan, witness)
            uplink = await _throughput(Direction.UP, peer, proxy, plan)
            downlink = await _throughput(Direction.DOWN, peer, proxy, plan)
            proxy.set_channel(channel)
            varied = await _echoes(peer, proxy, plan, witness)
    except TimeoutError as error:
        raise DeadlineError(f"the link could not be measured within {plan.deadline_s:g} s. Use fewer probes or allow more time.") from error
    return LinkMeasurement(echoes, uplink, downlink, varied, witness.late_s())


def asked_round_trip_s(channel: Channel, sent_s: float) -> float:
    """What the channel asks of an echo sent at `sent_s`: up at once, down from when it has arrived; jitter, loss and outages apart."""
    up_s = channel.state(sent_s).up.delay_s
    return up_s + channel.state(sent_s + up_s).down.delay_s


def mean_rate_bps(channel: Channel, direction: Direction, start_s: float, end_s: float) -> float:
    """The direction's rate, averaged over a span of the channel's time."""
    bits, now_s = 0.0, start_s
    while now_s < end_s:
        state = channel.state(now_s)
        leg = state.leg(direction)
        until_s = min(max(state.until_s, math.nextafter(now_s, math.inf)), end_s)
        bits += 0.0 if leg.outage else leg.rate_bps * (until_s - now_s)
        now_s = until_s
    return bits / (end_s - start_s)


class _WithoutLuck:
    """A channel without jitter and loss, and otherwise the same."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def state(self, at_s: float) -> LinkState:
        state = self._channel.state(at_s)
        return LinkState(replace(state.up, jitter_s=0.0, loss=0.0), replace(state.down, jitter_s=0.0, loss=0.0), state.until_s)


class _Witness:
    """Sleeps between the echoes and notes how late this machine wakes it, whatever the link does."""

    def __init__(self) -> None:
        self._late_s: list[float] = []

    async def sleep(self, seconds: float = 0.005) -> None:
        started_s = time.perf_counter()
        await asyncio.sleep(seconds)
        self._late_s.append(time.perf_counter() - started_s - seconds)

    def late_s(self) -> float:
        return quantiles(self._late_s, n=4, method="inclusive")[2]


@dataclass(slots=True)
class _Peer:
    """The far end: echoes, takes or sends, as asked; notes when bytes it took arrived."""

    address: Address
    arrivals: asyncio.Queue[list[tuple[float, int]]]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            task, size = _REQUEST.unpack(await reader.readexactly(_REQUEST.size))
            if task == b"e":
                while data := await reader.read(len(_BLOCK)):
                    writer.write(data)
                    await writer.drain()
            elif task == b"u":
                self.arrivals.put_nowait(await _take(reader, size))
            else:
                await _give(writer, size)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other end gave up, and says so itself
        finally:
            writer.close()


@asynccontextmanager
async def _peer() -> AsyncIterator[_Peer]:
    peer = _Peer(Address(), asyncio.Queue(maxsize=16))
    server = await asyncio.start_server(peer.serve, peer.address.host, peer.address.port)
    try:
        peer.address = Address(*server.sockets[0].getsockname()[:2])
        yield peer
    finally:
        server.close()
        await server.wait_closed()


async def _echoes(peer: _Peer, proxy: ShapingProxy, plan: Plan, witness: _Witness) -> Echoes:
    asked: list[float] = []
    delivered: list[float] = []
    direct: list[float] = []
    async with _connection(peer.address) as near, _connection(proxy.address) as far:
        for stream in (near, far):
            stream[1].write(_REQUEST.pack(b"e", 0))
            await _echo_s(stream, plan.probe_bytes)  # the first one pays for the connection's set-up
        started_s = time.perf_counter()
        while len(asked) < plan.least_probes or (len(asked) < plan.probes and time.perf_counter() < started_s + plan.probes_s):
            direct.append(await _echo_s(near, plan.probe_bytes))
            sent_s = proxy.elapsed_s()
            delivered.append(await _echo_s(far, plan.probe_bytes))
            asked.append(asked_round_trip_s(proxy.channel, sent_s))
            await witness.sleep()
    p95_s = quantiles(delivered, n=20, method="inclusive")[-1] if len(delivered) > 1 else delivered[0]
    return Echoes(median(asked), median(delivered), p95_s, median(direct))


async def _throughput(direction: Direction, peer: _Peer, proxy: ShapingProxy, plan: Plan) -> Throughput:
    found = sorted(
        [await _transfer(direction, peer, proxy, plan) for _ in range(plan.transfers)],
        key=lambda one: one.delivered_bps / one.asked_bps if math.isfinite(one.asked_bps) else one.delivered_bps,
    )
    return found[len(found) // 2]


async def _transfer(direction: Direction, peer: _Peer, proxy: ShapingProxy, plan: Plan) -> Throughput:
    """Send for about `transfer_s`, and time what arrives from the first bytes on, so that the delay does not count."""
    leg = proxy.state().leg(direction)
    size = int(min(max(leg.rate_bps * plan.transfer_s / 8, 16 * 1024), plan.transfer_bytes))
    async with _connection(proxy.address) as (reader, writer):
        if direction is Direction.UP:
            writer.write(_REQUEST.pack(b"u", size))
            await _give(writer, size)
            arrivals = await peer.arrivals.get()
        else:
            writer.write(_REQUEST.pack(b"d", size))
            arrivals = await _take(reader, size)
        done_s, now_s = proxy.elapsed_s(), time.perf_counter()
    first_s, last_s = (done_s - (now_s - arrived_s) for arrived_s in (arrivals[0][0], arrivals[-1][0]))
    if last_s <= first_s:
        raise UnavailableError("a bulk transfer arrived in one piece, so its rate cannot be measured. Plan a longer transfer.")
    asked_bps = mean_rate_bps(proxy.channel, direction, first_s - leg.delay_s, last_s - leg.delay_s)
    return Throughput(asked_bps, 8 * sum(count for _, count in arrivals[1:]) / (last_s - first_s))


@asynccontextmanager
async def _connection(address: Address) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _echo_s(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], size: int) -> float:
    reader, writer = stream
    started_s = time.perf_counter()
    writer.write(bytes(size))
    await reader.readexactly(size)
    return time.perf_counter() - started_s


async def _take(reader: asyncio.StreamReader, size: int) -> list[tuple[float, int]]:
    """Read `size` bytes; when each piece came, and how long it was."""
    arrivals: list[tuple[float, int]] = []
    while size > 0:
        data = await reader.read(min(size, len(_BLOCK)))
        if not data:
            raise UnavailableError("the connection ended in the middle of a transfer. Measure again.")
        arrivals.append((time.perf_counter(), len(data)))
        size -= len(data)
    return arrivals


async def _give(writer: asyncio.StreamWriter, size: int) -> None:
    while size > 0:
        writer.write(_BLOCK[:size])
        size -= len(_BLOCK)
        await writer.drain()
