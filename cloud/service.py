"""The verifier as a gRPC service: bytes in, bytes out, and an error that ends its own call only. It knows nothing of sessions or models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import grpc
from grpc.aio import EOF

from airdraft import PROTOCOL_VERSION
from airdraft.errors import AirdraftError, CapacityError, DrainingError, ProtocolVersionError
from airdraft.messages import Description, DeviceMessage, VerifierMessage
from airdraft.transport import Traffic
from airdraft.wire import methods
from airdraft.wire.codec import encode_description
from airdraft.wire.conversation import conversation
from airdraft.wire.reading import Reading
from airdraft.wire.status import contained, to_status

RETRY_WHEN_FULL_S = 1.0

log = logging.getLogger(__name__)


class Verification(Protocol):
    """What the service is a shell around."""

    def converse(self, incoming: AsyncIterator[DeviceMessage]) -> AsyncIterator[VerifierMessage]:
        """The answers to one stream's messages. An AirdraftError ends the stream with its class."""
        ...

    def describe(self) -> Description:
        """What it serves, what it allows, how busy it is."""
        ...

    def drain(self) -> None:
        """Refuse new sessions with DrainingError from now on; streams that run go on."""
        ...


class Service:
    """The methods of airdraft.wire.v1.Verification. It runs at most `stream_limit` streams at once."""

    def __init__(self, verification: Verification, stream_limit: int) -> None:
        self._verification = verification
        self._stream_limit = stream_limit
        self.traffic = Traffic()  # of all streams, ended ones included
        self._running: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers. It works on bytes, so that bytes which are no message are answered in our words, not in gRPC's."""
        return grpc.method_handlers_generic_handler(
            methods.SERVICE,
            {
                methods.CONVERSE: grpc.stream_stream_rpc_method_handler(self._converse),
                methods.DESCRIBE: grpc.unary_unary_rpc_method_handler(self._describe),
            },
        )

    @property
    def streams(self) -> int:
        """Streams that are running."""
        return len(self._running)

    async def idle(self, within_s: float) -> bool:
        """Wait until no stream is running; False when that took too long."""
        try:
            await asyncio.wait_for(self._idle.wait(), within_s)
        except TimeoutError:
            return False
        return True

    def end_all(self) -> None:
        """End every running stream with DrainingError."""
        for patience in self._running:
            patience.reschedule(asyncio.get_running_loop().time())

    async def _converse(self, _requests: Any, context: Any) -> None:
        error = self._refusal(context) or await self._run(context)
        if error:
            await _abort(context, error)

    async def _describe(self, _request: bytes, context: Any) -> bytes:
        try:
            return encode_description(self._verification.describe())
        except Exception as error:
            await _abort(context, contained(error, log))
            raise  # not reached: gRPC's abort always raises

    def _refusal(self, context: Any) -> AirdraftError | None:
        version = dict(context.invocation_metadata() or ()).get(methods.PROTOCOL_KEY, str(PROTOCOL_VERSION))
        if version != str(PROTOCOL_VERSION):
            spoken = f"the device speaks protocol version {str(version)[:20]}, this verifier {PROTOCOL_VERSION}"
            return ProtocolVersionError(f"{spoken}; install the same release on both")
        if len(self._running) >= self._stream_limit:
            return CapacityError(f"all {self._stream_limit} streams are in use; try again later", retry_after_s=RETRY_WHEN_FULL_S)
        return None

    async def _run(self, context: Any) -> AirdraftError | None:
        reading: Reading[Any] = Reading(context.read)
        patience = asyncio.timeout(None)
        try:
            async with patience:
                self._enter(patience)
                async with aclosing(conversation(self._verification.converse, _Arrivals(reading, self.traffic))) as answers:
                    async for data in answers:
                        await context.write(data)
                        self.traffic.bytes_down += len(data)
                        self.traffic.messages_down += 1
        except Exception as error:
            if patience.expired():
                return DrainingError("the verifier is shutting down; open the session elsewhere with its committed tokens")
            return contained(error, log)
        finally:
            self._leave(patience)
            await reading.close()
        return None

    def _enter(self, patience: asyncio.Timeout) -> None:
        self._running.add(patience)
        self._idle.clear()

    def _leave(self, patience: asyncio.Timeout) -> None:
        self._running.discard(patience)
        if not self._running:
            self._idle.set()


class _Arrivals:
    """One call's messages as bytes, until the device has no more to say."""

    def __init__(self, reading: Reading[Any], traffic: Traffic) -> None:
        self._reading = reading
        self._traffic = traffic

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._reading.next()
        except EOFError:
            raise StopAsyncIteration from None
        if data is EOF:
            raise StopAsyncIteration
        self._traffic.bytes_up += len(data)
        self._traffic.messages_up += 1
        return bytes(data)


async def _abort(context: Any, error: AirdraftError) -> None:
    code, details, metadata = to_status(error)
    await context.abort(code, details, metadata)
