"""A write that meets the end of its call: gRPC marks the call as failed, before or over the verifier's own status, which must be heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from airdraft.errors import CapacityError, UnavailableError
from airdraft.messages import Draft
from airdraft.wire.status import to_status
from edge import grpc_transport
from edge.grpc_transport import WRITE_FAULT, GrpcSettings, GrpcStream

Status = tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]
FULL: Status = to_status(CapacityError("full", retry_after_s=2.0))
MARK: Status = (grpc.StatusCode.INTERNAL, WRITE_FAULT, ())
DRAFT = Draft(1, 1, 0, 0, (1,))


class Call:
    """A call as grpc.aio has them, whose write fails after these statuses have been set; `later` is set a little after."""

    def __init__(self, at_once: list[Status], later: Status | None = None) -> None:
        self._at_once, self._later = at_once, later
        self._status: Status | None = None
        self._callbacks: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def _set(self, status: Status) -> None:
        self._status = status
        for callback in self._callbacks:
            callback(self)

    async def write(self, data: bytes) -> None:
        for status in self._at_once:
            self._set(status)
        if self._later:
            asyncio.get_running_loop().call_later(0.02, self._set, self._later)
        raise self._error()

    def _error(self) -> AioRpcError:
        assert self._status is not None
        code, details, metadata = self._status
        return AioRpcError(code, Metadata(), Metadata(*metadata), details=details)

    async def code(self) -> grpc.StatusCode:
        return self._status[0]  # type: ignore[index]  # asked only once there is one

    async def details(self) -> str:
        return self._status[1]  # type: ignore[index]  # as above

    async def trailing_metadata(self) -> Metadata:
        return Metadata(*self._status[2])  # type: ignore[index]  # as above

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise self._error()
        yield b""

    def cancel(self) -> None: ...


async def ended(call: Call) -> Any:
    async def release(doubtful: bool) -> None: ...

    stream = GrpcStream(call, SimpleNamespace(release=release), GrpcSettings(), lambda stream: None)  # type: ignore[arg-type]  # a stand-in
    await stream.send(DRAFT)
    return await stream.receive()


@pytest.mark.parametrize(
    "call", [Call([FULL, MARK]), Call([MARK], later=FULL), Call([FULL])], ids=["marked over it", "marked before it", "not marked"]
)
async def test_the_verifiers_own_word_is_what_the_device_hears(call):
    with pytest.raises(CapacityError, match="full") as caught:
        await ended(call)
    assert caught.value.retry_after_s == 2.0


@pytest.mark.parametrize("call", [Call([(grpc.StatusCode.OK, "", ()), MARK]), Call([MARK], later=(grpc.StatusCode.OK, "", ()))])
async def test_an_end_in_good_order_stays_one(call):
    assert await ended(call) is None


async def test_a_mark_that_nothing_follows_counts_as_a_lost_connection(monkeypatch):
    monkeypatch.setattr(grpc_transport, "STATUS_TRIES", 3)
    with pytest.raises(UnavailableError, match=WRITE_FAULT):
        await ended(Call([MARK]))
