"""A link within one process, on virtual time: a `Transport` whose messages are encoded, framed, and carried by a channel's two queues."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import Field

from airdraft.errors import AirdraftError, UnavailableError
from airdraft.in_process import Direction, InProcessStream, InProcessTransport
from airdraft.messages import Description, DeviceMessage, VerifierMessage
from airdraft.settings import Settings
from airdraft.transport import Traffic
from airdraft.wire.conversation import Converse
from orchestration.link.channel import Channel
from orchestration.link.channel import Direction as Leg
from orchestration.link.transit import Flow, Transit
from orchestration.link.window import WindowSettings
from orchestration.simulation.framing import Framing


class ConnectionSettings(Settings):
    """What lies between a message and the radio."""

    framing: Framing = Framing()
    open_round_trips: int = Field(2, ge=0, le=8, description="before a new connection carries a message: TCP 1 and TLS 1.3 1")
    handling_s: float = Field(0.0, ge=0, le=60, description="what both ends spend on a message: encoding, sockets, event loops")


@dataclass(slots=True)
class Framed:
    """Bytes on the wire, framing included, and messages, in each direction."""

    bytes_up: int = 0
    bytes_down: int = 0
    messages_up: int = 0
    messages_down: int = 0
    connections: int = 0


@dataclass(frozen=True, slots=True)
class VerifierEntry:
    """A verifier as its two functions."""

    converse: Converse
    describe: Callable[[], Description]


class SimulatedLink:
    """One device's way to one verifier over one channel. All its connections share the radio; streams share a connection.

    A stream that is given up while it owes an answer takes its connection with it: the next one is opened anew, as over gRPC.
    Everything random follows from `seed` and the order of messages.
    """

    def __init__(
        self,
        verifier: VerifierEntry,
        channel: Channel,
        *,
        seed: int = 0,
        settings: ConnectionSettings | None = None,
        window: WindowSettings | None = None,
    ) -> None:
        self.framed = Framed()
        self.verifier = verifier
        self.settings = settings or ConnectionSettings()
        self.transit = Transit(channel, seed, window=window)
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def open(self) -> SimulatedStream:
        """A stream; takes the connection's round trips when there is none yet. Raises UnavailableError once closed."""
        connection = await self._connected()
        return SimulatedStream(await connection.transport.open(), connection)

    async def describe(self) -> Description:
        """What the verifier serves, over the link."""
        return await (await self._connected()).transport.describe()

    async def close(self) -> None:
        """Close every stream. Safe to call again."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.transport.close()

    def cut(self, error: AirdraftError | None = None) -> None:
        """Break the connection as a lost path does; the next stream opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.retired = True
            connection.transport.cut(error)

    async def _connected(self) -> _Connection:
        async with self._opening:
            if self._closed:
                raise UnavailableError("this transport has been closed; make a new one")
            if self._connection is None or self._connection.retired:
                connection = _Connection(self)
                for _ in range(self.settings.open_round_trips):
                    await connection.carry(Direction.UP, 0)
                    await connection.carry(Direction.DOWN, 0)
                self._connection = connection
                self.framed.connections += 1
            return self._connection


class _Connection:
    """An ordered flow each way, and the in-process transport that uses them."""

    def __init__(self, link: SimulatedLink) -> None:
        self.retired = False
        self.transport = InProcessTransport(link.verifier.converse, link.verifier.describe, self.carry)
        self._framed = link.framed
        self._framing = link.settings.framing
        self._handling_s = link.settings.handling_s
        self._flows: dict[Direction, Flow] = {
            Direction.UP: link.transit.flow(Leg.UP),
            Direction.DOWN: link.transit.flow(Leg.DOWN),
        }

    async def carry(self, direction: Direction, size: int) -> None:
        """Return when a message of `size` bytes that is sent now has arrived; never, when it cannot get through."""
        loop = asyncio.get_running_loop()
        on_the_wire = size + self._framing.overhead(size)
        self._count(direction, on_the_wire)
        passage = self._flows[direction].send(on_the_wire, loop.time())
        if math.isinf(passage.arrives_s):
            await loop.create_future()
        arrived = loop.create_future()
        timer = loop.call_at(passage.arrives_s + self._handling_s, _settle, arrived)
        try:
            await arrived
        finally:
            timer.cancel()

    def _count(self, direction: Direction, size: int) -> None:
        if direction is Direction.UP:
            self._framed.bytes_up += size
            self._framed.messages_up += 1
        else:
            self._framed.bytes_down += size
            self._framed.messages_down += 1


@dataclass(slots=True)
class SimulatedStream:
    """A stream that retires its connection when it is closed with an answer still due."""

    inner: InProcessStream
    connection: _Connection = field(repr=False)
    _unanswered: bool = False

    @property
    def traffic(self) -> Traffic:
        """Encoded messages, without framing."""
        return self.inner.traffic

    @traffic.setter
    def traffic(self, value: Traffic) -> None:
        self.inner.traffic = value

    async def send(self, message: DeviceMessage) -> None:
        """Send it off."""
        await self.inner.send(message)
        self._unanswered = True

    async def receive(self) -> VerifierMessage | None:
        """The next message, None at a good end. Cancelling it loses nothing."""
        message = await self.inner.receive()
        self._unanswered = False
        return message

    async def close(self) -> None:
        """Hang up. Safe to call again."""
        if self._unanswered:
            self.connection.retired = True
        await self.inner.close()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
