"""A TCP proxy that makes a fast path behave like a channel: what enters a side leaves the other when the transit says so.

It works on bytes and knows nothing of what they mean. README.md in this folder says what is emulated and what is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from dataclasses import dataclass, field
from typing import Self, cast

from airdraft.errors import UnavailableError
from orchestration.link.channel import Channel, Direction, LinkState
from orchestration.link.pipe import Ending, Pipe, Tally, reset
from orchestration.link.transit import Transit
from orchestration.link.window import WindowSettings

CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP endpoint. Port 0, for listening, lets the system choose."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """The proxy's bounds. In-flight bytes are per connection and direction; they bound the rate to `in_flight_bytes` per one-way delay."""

    in_flight_bytes: int = 4 * 1024 * 1024
    connections: int = 256
    window: WindowSettings | None = None  # TCP's congestion window on the emulated path; None: never a bound


@dataclass(slots=True)
class Counters:
    """What a proxy has done since it started."""

    up: Tally = field(default_factory=Tally)
    down: Tally = field(default_factory=Tally)
    connections: int = 0
    refused: int = 0  # connections closed at once: upstream not reachable, or too many


class ShapingProxy:
    """Listens at `listen` and connects each client to `upstream` over the emulated channel, which all connections share (one radio).

    Use as `async with ShapingProxy(upstream, channel) as proxy`, or `start` and `close`. Everything random follows from `seed` and the
    order of chunks.
    """

    def __init__(
        self, upstream: Address, channel: Channel, *, listen: Address = Address(), seed: int = 0, limits: Limits = Limits()
    ) -> None:
        self.counters = Counters()
        self.limits = limits
        self.upstream = upstream
        self._listen = listen
        self._channel = channel
        self._seed = seed
        self._transit = Transit(channel, seed)
        self._origin_s = 0.0
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    @property
    def transit(self) -> Transit:
        """The queues that all connections share."""
        return self._transit

    @property
    def address(self) -> Address:
        """Where it listens. Raises UnavailableError before `start`."""
        if self._server is None or not self._server.sockets:
            raise UnavailableError("the proxy is not listening; start it first.")
        host, port = self._server.sockets[0].getsockname()[:2]
        return Address(host, port)

    @property
    def channel(self) -> Channel:
        """The channel that it emulates now."""
        return self._channel

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._connections)

    @property
    def held_bytes(self) -> int:
        """Bytes now on their way, over all connections and both directions."""
        return sum(connection.held_bytes for connection in self._connections)

    def elapsed_s(self) -> float:
        """The channel's time: seconds since it was started or set."""
        return asyncio.get_running_loop().time() - self._origin_s

    def state(self) -> LinkState:
        """The channel now."""
        return self._channel.state(self.elapsed_s())

    async def start(self) -> None:
        """Listen, and start the channel's time. Raises UnavailableError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._origin_s = loop.time()
        self._transit = Transit(self._channel, self._seed, self._origin_s, self.limits.window)
        try:
            self._server = await loop.create_server(lambda: Connection(self).client, self._listen.host, self._listen.port)
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {self._listen.host}:{self._listen.port} ({error}). Choose another address."
            ) from error

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is None:
            return
        self._server.close()
        self.cut()
        with contextlib.suppress(TimeoutError):  # the port is free already; a lingering socket is the system's to end
            await asyncio.wait_for(self._server.wait_closed(), CLOSE_TIMEOUT_S)
        self._server = None

    def cut(self) -> None:
        """Drop every connection on both sides at once, as when the network path is lost. New ones are accepted."""
        for connection in tuple(self._connections):
            connection.drop()

    def set_channel(self, channel: Channel) -> None:
        """Change to another channel, whose time begins now. Bytes already on their way keep their time of arrival, unless they had none."""
        self._channel = channel
        self._origin_s = asyncio.get_running_loop().time()
        self._transit.set_channel(channel, self._origin_s)
        for connection in tuple(self._connections):
            connection.plan()

    def admit(self, connection: Connection) -> bool:
        """Take a new connection, unless there are too many."""
        if self._server is None or not self._server.is_serving() or len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        self.counters.connections += 1
        return True

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


class Connection:
    """A client, its upstream, and the pipe each way."""

    def __init__(self, proxy: ShapingProxy) -> None:
        self._proxy = proxy
        self._up_flow = proxy.transit.flow(Direction.UP)
        self._down_flow = proxy.transit.flow(Direction.DOWN)
        limit_bytes = proxy.limits.in_flight_bytes
        self._up = Pipe(self._up_flow, proxy.counters.up, limit_bytes, lambda ending: self._ended(self.upstream, ending))
        self._down = Pipe(self._down_flow, proxy.counters.down, limit_bytes, lambda ending: self._ended(self.client, ending))
        self.client = Side(self, sends=self._up, receives=self._down)
        self.upstream = Side(self, sends=self._down, receives=self._up)
        self._started_s = 0.0
        self._is_open = self._is_dropped = False
        self._opening: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes in both pipes."""
        return self._up.held_bytes + self._down.held_bytes

    def connected(self, side: Side) -> None:
        """One side's socket stands. The client's comes first, and the upstream is sought for it."""
        if side is not self.client:
            if self._is_dropped:
                side.drop()
            return
        if not self._proxy.admit(self):
            self._proxy.counters.refused += 1
            self.drop()
            return
        self._started_s = asyncio.get_running_loop().time()
        self._connecting = asyncio.create_task(self._connect())

    def plan(self) -> None:
        """Find times for what has none: the opening, or bytes held by an outage that had no end."""
        if self._is_open:
            self._up.plan()
            self._down.plan()
        elif self.upstream.transport is not None and self._opening is None:
            self._handshake(asyncio.get_running_loop().time())

    def lost(self, side: Side, error: Exception | None) -> None:
        """A socket is gone: by our own doing, or by a reset, which then travels to the other side."""
        if self._is_dropped:
            return
        if error is None:
            self.drop()
            return
        side.receives.discard()
        side.sends.end(Ending.RESET)
        if self.upstream.transport is None:
            self.drop()

    def drop(self) -> None:
        """End both sides at once and forget what is queued."""
        self._is_dropped = True
        self._proxy.forget(self)
        if self._opening is not None:
            self._opening.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        for side in (self.client, self.upstream):
            side.sends.discard()
            side.drop()

    async def _connect(self) -> None:
        address = self._proxy.upstream
        connecting = asyncio.get_running_loop().create_connection(lambda: self.upstream, address.host, address.port)
        try:
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError):
            self._connecting = None
            self._proxy.counters.refused += 1
            self.drop()
            return
        self._connecting = None
        self._handshake(self._started_s)

    def _handshake(self, started_s: float) -> None:
        """Charge the connection's own round trip (SYN up, its answer down) before the first bytes may enter."""
        asked_s = self._up_flow.send(0, started_s).arrives_s
        answered_s = self._down_flow.send(0, asked_s).arrives_s if math.isfinite(asked_s) else math.inf
        if math.isfinite(answered_s):
            self._opening = asyncio.get_running_loop().call_at(answered_s, self._open)

    def _open(self) -> None:
        self._is_open = True
        self._up.open()
        self._down.open()

    def _ended(self, side: Side, ending: Ending) -> None:
        """An ending has crossed the link and reaches `side`."""
        if ending is Ending.RESET:
            self.drop()
            return
        side.finish()
        if self.client.is_finished and self.upstream.is_finished:
            self._is_dropped = True
            self._proxy.forget(self)
            self.client.close()
            self.upstream.close()


class Side(asyncio.Protocol):
    """One socket of a connection: what it sends goes into one pipe, what it receives comes out of the other."""

    def __init__(self, connection: Connection, sends: Pipe, receives: Pipe) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_finished = False
        self.sends, self.receives = sends, receives
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket stands."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sends.source = self.receives.sink = self.transport
        self._connection.connected(self)

    def data_received(self, data: bytes) -> None:
        """The socket brought bytes."""
        self.sends.feed(data)

    def eof_received(self) -> bool:
        """No more comes from this socket (FIN); it may still be written to."""
        self.sends.end(Ending.FINISHED)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._connection.lost(self, exc)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self.receives.hold(True)

    def resume_writing(self) -> None:
        """The socket's buffer has room again."""
        self.receives.hold(False)

    def finish(self) -> None:
        """No more comes for this side (FIN)."""
        self.is_finished = True
        if self.transport is not None and not self.transport.is_closing():
            with contextlib.suppress(OSError):  # reset after its own end: that is not read any more, so this is the first to hear of it
                self.transport.write_eof()

    def close(self) -> None:
        """Close once what was written has left."""
        if self.transport is not None:
            self.transport.close()

    def drop(self) -> None:
        """Close at once (RST)."""
        if self.transport is not None:
            reset(self.transport)
