"""A transport to a verifier in the same process: every message is really encoded, and a link may be put between. It knows no clock."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from enum import StrEnum

from airdraft.errors import AirdraftError, UnavailableError
from airdraft.messages import Description, DeviceMessage, VerifierMessage
from airdraft.transport import Traffic
from airdraft.wire.codec import decode_description, decode_verifier, encode_description, encode_device
from airdraft.wire.conversation import Converse, conversation
from airdraft.wire.status import contained, from_status, to_status

IN_FLIGHT_LIMIT = 256  # messages that one direction holds before its sender waits
CLOSE_LIMIT_S = 10.0

log = logging.getLogger(__name__)


class Direction(StrEnum):
    """Which way a message travels."""

    UP = "up"  # device to verifier
    DOWN = "down"


Carry = Callable[[Direction, int], Awaitable[None]]
"""A link: returns when a message of so many bytes, sent now, has arrived (0 bytes: the end of a stream, or an empty request).

It is started for each message as that is sent, so several travel at once; arrival is in order all the same. What it raises cuts the stream.
"""


class InProcessTransport:
    """A way to a verifier given as its two functions."""

    def __init__(self, converse: Converse, describe: Callable[[], Description], carry: Carry | None = None) -> None:
        self._converse = converse
        self._describe = describe
        self._carry = carry
        self._streams: dict[InProcessStream, None] = {}  # in the order of opening, so that a cut breaks them in a fixed order
        self._closed = False

    async def open(self) -> InProcessStream:
        """A stream whose verifier side already runs. Raises UnavailableError once the transport is closed."""
        if self._closed:
            raise UnavailableError("this transport has been closed; make a new one")
        stream = InProcessStream(self._converse, self._carry, lambda ended: self._streams.pop(ended, None))
        self._streams[stream] = None
        return stream

    async def describe(self) -> Description:
        """What the verifier serves; takes one round trip of the link."""
        if self._carry:
            await self._carry(Direction.UP, 0)
        try:
            answer = encode_description(self._describe())
        except Exception as error:
            raise _as_received(error) from None
        if self._carry:
            await self._carry(Direction.DOWN, len(answer))
        return decode_description(answer)

    def cut(self, error: AirdraftError | None = None) -> None:
        """Break every open stream as a lost connection does: what is in flight is lost, devices get `error`, the verifier is cancelled."""
        for stream in list(self._streams):
            stream.cut(error or UnavailableError("the connection was cut"))

    async def close(self) -> None:
        """Close every stream. Safe to call again."""
        self._closed = True
        for stream in list(self._streams):
            await stream.close()


class InProcessStream:
    """One stream. Sending after the verifier has ended it in good order does nothing, as a message that crosses the end on a link."""

    def __init__(self, converse: Converse, carry: Carry | None, forget: Callable[[InProcessStream], object]) -> None:
        self.traffic = Traffic()
        self._up = _Way(Direction.UP, carry, self.cut)
        self._down = _Way(Direction.DOWN, carry, self.cut)
        self._forget = forget
        self._end: Exception | None = None
        self._ended = False
        self._verifier = asyncio.create_task(self._answer(converse))

    async def send(self, message: DeviceMessage) -> None:
        """Waits only when too many messages are in flight."""
        data = encode_device(message)
        if self._end:
            raise self._end
        if not self._ended:
            await self._up.put(data)
            self.traffic.bytes_up += len(data)
            self.traffic.messages_up += 1

    async def receive(self) -> VerifierMessage | None:
        """The next message, None at a good end. Cancelling it loses nothing."""
        if self._end:
            raise self._end
        if self._ended:
            return None
        parcel = await self._down.get()
        if isinstance(parcel, bytes):
            self.traffic.bytes_down += len(parcel)
            self.traffic.messages_down += 1
            return decode_verifier(parcel)
        self._ended, self._end = True, parcel
        self._forget(self)
        if parcel:
            raise parcel
        return None

    def cut(self, error: Exception) -> None:
        """Break the stream: the device gets `error`, the verifier's side is cancelled."""
        if not self._ended and self._end is None:
            self._end = error
        self._verifier.cancel()
        self._up.close(error)
        self._down.close(error)

    async def close(self) -> None:
        """Cancel the verifier's side and wait, within bounds, until it has ended. Safe to call again."""
        self.cut(UnavailableError("this stream has been closed on this side"))
        self._forget(self)
        await asyncio.wait({self._verifier, *self._up.travels, *self._down.travels}, timeout=CLOSE_LIMIT_S)

    async def _answer(self, converse: Converse) -> None:
        try:
            async with aclosing(conversation(converse, _Arrivals(self._up))) as answers:
                async for data in answers:
                    await self._down.put(data)
            await self._down.put(None)
        except Exception as error:
            await self._down.put(_as_received(error))
        finally:
            self._up.close(None)


class _Way:
    """One direction: messages arrive in the order they were sent, each once its carrying is over; then the end (None, or an error)."""

    def __init__(self, direction: Direction, carry: Carry | None, cut: Callable[[Exception], None]) -> None:
        self._direction = direction
        self._carry = carry
        self._cut = cut
        self.travels: set[asyncio.Task[None]] = set()
        self._parcels: deque[tuple[bytes | Exception | None, asyncio.Task[None] | None]] = deque()
        self._sent = asyncio.Event()
        self._room = asyncio.Semaphore(IN_FLIGHT_LIMIT)
        self._closed = False

    async def put(self, parcel: bytes | Exception | None) -> None:
        """Send it off. Dropped when the way is closed."""
        await self._room.acquire()
        if self._closed:
            self._room.release()  # for the next one who waits
            return
        travel = None
        if self._carry:
            travel = asyncio.create_task(self._travel(self._carry, len(parcel) if isinstance(parcel, bytes) else 0))
            self.travels.add(travel)
            travel.add_done_callback(self.travels.discard)
        self._parcels.append((parcel, travel))
        self._sent.set()

    async def get(self) -> bytes | Exception | None:
        """The next arrival. Cancelling it loses nothing; for one reader at a time."""
        while True:
            await self._sent.wait()
            parcel, travel = head = self._parcels[0]
            if travel:
                await asyncio.wait({travel})
            if self._parcels and self._parcels[0] is head:  # else the way was closed meanwhile
                break
        if not self._closed:
            self._parcels.popleft()
            self._room.release()
            if not self._parcels:
                self._sent.clear()
        return parcel

    def close(self, end: Exception | None) -> None:
        """Drop what is in flight; readers get `end` from now on, and nobody waits to send."""
        if self._closed:
            return
        self._closed = True
        for travel in self.travels:
            travel.cancel()
        self._parcels = deque([(end, None)])
        self._sent.set()
        self._room.release()

    async def _travel(self, carry: Carry, size: int) -> None:
        try:
            await carry(self._direction, size)
        except Exception as error:
            self._cut(error)


class _Arrivals:
    """The verifier's end of the way up."""

    def __init__(self, way: _Way) -> None:
        self._way = way

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        parcel = await self._way.get()
        if isinstance(parcel, bytes):
            return parcel
        raise parcel or StopAsyncIteration


def _as_received(error: Exception) -> AirdraftError:
    """The error as it would arrive over gRPC."""
    return from_status(*to_status(contained(error, log)))
