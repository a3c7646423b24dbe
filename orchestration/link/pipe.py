"""One direction of one proxied connection: bytes wait here until their time of arrival and are then handed on. It opens no sockets."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from orchestration.link.transit import Flow

CHUNK_BYTES = 8 * 1024  # what has luck and a time of arrival of its own; longer reads are cut
EARLY_S = 0.0005  # epoll rounds a wait up to whole milliseconds; aiming half of one early centres the error on zero


class Ending(Enum):
    """How a side ended its stream: in good order (FIN) or not (RST)."""

    FINISHED = "finished"
    RESET = "reset"


@dataclass(slots=True)
class Chunk:
    """Bytes, or an ending, on their way."""

    data: bytes
    arrives_s: float  # infinite: not known yet
    ending: Ending | None = None


@dataclass(slots=True)
class Tally:
    """What has been handed on in one direction, over all connections."""

    bytes: int = 0
    chunks: int = 0


class Pipe:
    """A bounded queue from `source` to `sink`. When it holds `limit_bytes`, the source is not read until half of that has left;
    what one read brings (at most 256 KiB) may come on top."""

    def __init__(self, flow: Flow, tally: Tally, limit_bytes: int, on_ended: Callable[[Ending], None]) -> None:
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._flow, self._tally, self._limit_bytes, self._on_ended = flow, tally, limit_bytes, on_ended
        self._chunks: deque[Chunk] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = self._sink_is_full = self._has_ended = False

    @property
    def held_bytes(self) -> int:
        """Bytes read from the source and not yet handed on."""
        return self._held_bytes

    def open(self) -> None:
        """The connection stands: what waits, and what comes, is on its way from now."""
        self._is_open = True
        self.plan()

    def plan(self) -> None:
        """Give every chunk without a time of arrival one: after opening, and after a change of the channel."""
        now_s = self._loop.time()
        for chunk in self._chunks:
            if math.isinf(chunk.arrives_s):
                chunk.arrives_s = self._arrival_s(len(chunk.data), now_s)
        self._advance()

    def feed(self, data: bytes) -> None:
        """Take bytes that the source has just sent."""
        for start in range(0, len(data), CHUNK_BYTES):
            self._append(data[start : start + CHUNK_BYTES])
        if self._held_bytes >= self._limit_bytes and self.source is not None:
            self.source.pause_reading()

    def end(self, ending: Ending) -> None:
        """The source has ended; the sink learns of it after all that is queued."""
        self._append(b"", ending)

    def hold(self, full: bool) -> None:
        """The sink takes no more for now (True), or takes again."""
        self._sink_is_full = full
        self._advance()

    def discard(self) -> None:
        """Forget what is queued: nobody is there to take it. Nothing is taken any more."""
        self._has_ended = True
        self._chunks.clear()
        self._held_bytes = 0
        self._advance()

    def _arrival_s(self, size_bytes: int, now_s: float) -> float:
        return self._flow.send(size_bytes, now_s).arrives_s if self._is_open else math.inf

    def _append(self, data: bytes, ending: Ending | None = None) -> None:
        if self._has_ended:
            return
        self._held_bytes += len(data)
        self._chunks.append(Chunk(data, self._arrival_s(len(data), self._loop.time()), ending))
        if len(self._chunks) == 1:
            self._advance()

    def _advance(self) -> None:
        """Hand on what is due, then set the one timer to the next chunk's absolute time, so that no wait adds to the next one's error."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._wait_s() <= 0.0:
            self._hand_on(self._chunks.popleft())
        if self._held_bytes <= self._limit_bytes // 2 and self.source is not None:
            self.source.resume_reading()
        if math.isfinite(self._wait_s()):
            self._timer = self._loop.call_at(self._chunks[0].arrives_s - EARLY_S, self._advance)

    def _wait_s(self) -> float:
        """How long until the first chunk is due; infinite when only an event can tell."""
        if not self._chunks or self.sink is None or self._sink_is_full:
            return math.inf
        return self._chunks[0].arrives_s - EARLY_S - self._loop.time()

    def _hand_on(self, chunk: Chunk) -> None:
        if self.sink is None or self.sink.is_closing():
            self.discard()
        elif chunk.ending is None:
            self._held_bytes -= len(chunk.data)
            self._tally.bytes += len(chunk.data)
            self._tally.chunks += 1
            self.sink.write(chunk.data)
        else:
            self._has_ended = True
            self._on_ended(chunk.ending)


def reset(transport: asyncio.Transport) -> None:
    """Close at once and say so to the other end (RST), as a process that dies does."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
