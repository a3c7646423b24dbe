"""The device's transport over gRPC. It makes one attempt each time it is asked, quickly; when to try again is the session's business."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
from grpc.aio import AioRpcError
from pydantic import Field

from airdraft import PROTOCOL_VERSION
from airdraft.errors import AirdraftError, DeadlineError, InternalError, MalformedMessageError, SettingsError, UnavailableError
from airdraft.messages import Description, DeviceMessage, VerifierMessage
from airdraft.settings import Settings
from airdraft.transport import Traffic
from airdraft.wire import methods
from airdraft.wire.bounds import MAX_MESSAGE_BYTES
from airdraft.wire.codec import decode_description, decode_verifier, encode_device
from airdraft.wire.reading import Reading
from airdraft.wire.status import ERROR_KEY, from_status

WRITE_FAULT = "Internal error from Core"  # gRPC's details for a write that failed
STATUS_TRIES = 100
STATUS_PAUSE_S = 0.01
Result = TypeVar("Result")
METADATA = ((methods.PROTOCOL_KEY, str(PROTOCOL_VERSION)),)


class GrpcSettings(Settings):
    """How to reach a verifier. Without `tls`, a verifier on this machine is reached in the clear and any other over TLS."""

    connect_deadline_s: float = Field(default=5.0, gt=0)
    send_deadline_s: float = Field(default=10.0, gt=0)
    describe_deadline_s: float = Field(default=10.0, gt=0)
    keepalive_s: float = Field(
        default=10.0, ge=1, description="silence on an open stream after which the verifier is asked for a sign of life"
    )
    keepalive_deadline_s: float = Field(default=5.0, gt=0)
    max_message_bytes: int = Field(default=MAX_MESSAGE_BYTES, ge=1024, lt=2**31)
    tls: bool | None = None
    root_certificates: Path | None = Field(default=None, description="PEM file to trust instead of the system's certificates; implies TLS")


class GrpcTransport:
    """A way to the verifier at `target` (host:port), over one connection while that holds."""

    def __init__(self, target: str, settings: GrpcSettings | None = None) -> None:
        """Connects to nothing yet. Raises SettingsError for a target or certificate file that cannot be used."""
        self._target = target
        self._settings = settings or GrpcSettings()
        self._local = is_local(target)
        self._credentials = _credentials(self._settings, self._local)
        self._connection: _Connection | None = None
        self._streams: set[GrpcStream] = set()
        self._closed = False

    async def open(self) -> GrpcStream:
        """One attempt to connect. Raises UnavailableError when refused, DeadlineError when `connect_deadline_s` is over.

        What a verifier that was reached has to say against the stream comes from `receive`.
        """
        connection = self._hold()
        call = connection.converse(metadata=METADATA)
        try:
            await self._until_connected(call)
        except BaseException:
            call.cancel()
            await connection.release(doubtful=True)
            raise
        stream = GrpcStream(call, connection, self._settings, self._streams.discard)
        self._streams.add(stream)
        return stream

    async def describe(self) -> Description:
        """Ask once. Raises as `open` does."""
        connection = self._hold()
        doubtful = True
        try:
            answer = await connection.describe(b"", timeout=self._settings.describe_deadline_s, metadata=METADATA)
            doubtful = False
        except AioRpcError as error:
            raise self._no_connection(error, self._settings.describe_deadline_s) from None
        finally:
            await connection.release(doubtful)
        return decode_description(answer)

    async def close(self) -> None:
        """Close every stream and the connection. Safe to call again."""
        self._closed = True
        for stream in list(self._streams):
            await stream.close()
        if self._connection:
            await self._connection.retire()

    async def _until_connected(self, call: Any) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_deadline_s):
                await call.wait_for_connection()
        except TimeoutError as error:
            raise self._no_connection(error, self._settings.connect_deadline_s) from None
        except AioRpcError as error:
            if ERROR_KEY not in _metadata(error):
                raise self._no_connection(error, self._settings.connect_deadline_s) from None

    def _hold(self) -> _Connection:
        if self._closed:
            raise UnavailableError(f"the transport to {self._target} has been closed; make a new one")
        if self._connection is None or self._connection.retired:
            self._connection = _Connection(self._channel())
        self._connection.users += 1
        return self._connection

    def _channel(self) -> grpc.aio.Channel:
        options = [*channel_options(self._settings), ("grpc.enable_http_proxy", 0 if self._local else 1)]
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, options)
        return grpc.aio.secure_channel(self._target, self._credentials, options)

    def _no_connection(self, error: TimeoutError | AioRpcError, deadline_s: float) -> AirdraftError:
        if isinstance(error, TimeoutError) or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(
                f"no answer from {self._target} within {deadline_s:g} s; check the address and the link, or allow more time"
            )
        found = _from_rpc_error(error)
        if type(found) is UnavailableError:
            hint = "; it was asked over TLS, so set tls to false if it serves in the clear" if self._credentials else ""
            return UnavailableError(f"no verifier can be reached at {self._target}: {found.message}{hint}")
        return found


class GrpcStream:
    """One Converse call. Sending after the verifier has ended it does nothing: `receive` says how it ended."""

    def __init__(self, call: Any, connection: _Connection, settings: GrpcSettings, forget: Callable[[GrpcStream], None]) -> None:
        self.traffic = Traffic()
        self._call = call
        self._connection = connection
        self._settings = settings
        self._forget = forget
        self._reading: Reading[Any] = Reading(call.__aiter__().__anext__)
        self._unanswered = False
        self._write_failed = False
        self._status: _Status | None = None
        call.add_done_callback(self._note_status)
        self._ended = False
        self._end: AirdraftError | None = None

    async def send(self, message: DeviceMessage) -> None:
        """Raises DeadlineError when the link takes nothing for `send_deadline_s`, MalformedMessageError when the message is too large."""
        data = encode_device(message)
        if len(data) > self._settings.max_message_bytes:
            raise MalformedMessageError(
                f"the message has {len(data)} bytes, at most {self._settings.max_message_bytes} allowed; shorten it"
            )
        if self._end:
            raise self._end
        if self._ended:
            return
        try:
            async with asyncio.timeout(self._settings.send_deadline_s):
                await self._call.write(data)
        except TimeoutError:
            self._end = DeadlineError(f"the link took no message for {self._settings.send_deadline_s:g} s; open again when it is back")
            await self._finish(doubtful=True)
            raise self._end from None
        except (AioRpcError, asyncio.InvalidStateError):
            self._write_failed = True
            return
        self._unanswered = True
        self.traffic.bytes_up += len(data)
        self.traffic.messages_up += 1

    async def receive(self) -> VerifierMessage | None:
        """The next message, None at a good end. Cancelling it loses nothing."""
        if self._end:
            raise self._end
        if self._ended:
            return None
        try:
            return self._received(await self._reading.next())
        except StopAsyncIteration:
            pass
        except EOFError:
            self._end = self._end or _closed_here()
        except MalformedMessageError as error:
            self._end = error
        except AioRpcError as error:
            self._end = await self._reason(error)
        await self._finish(doubtful=isinstance(self._end, UnavailableError | DeadlineError))
        if self._end:
            raise self._end
        return None

    async def close(self) -> None:
        """Cancel the call unless it has ended. Safe to call again."""
        if not self._ended:
            self._end = self._end or _closed_here()
            # A connection that owes an answer may be dead without knowing it: the next stream gets a fresh one.
            await self._finish(doubtful=self._unanswered)

    def _received(self, data: bytes) -> VerifierMessage:
        self._unanswered = False
        self.traffic.bytes_down += len(data)
        self.traffic.messages_down += 1
        return decode_verifier(data)

    def _note_status(self, call: Any) -> None:
        """Keep how the call ended; what is only the mark of a failed write gives way to that, and never takes its place."""
        if self._status is None or self._status.details == WRITE_FAULT:
            self._status = _Status(_at_once(call.code()), _at_once(call.details()), tuple(_at_once(call.trailing_metadata()) or ()))

    async def _reason(self, error: AioRpcError) -> AirdraftError | None:
        """Why the call ended; None: in good order.

        A write that met the end has marked the call as failed: before its own status was in, which then follows, or over that status.
        """
        if not self._write_failed:
            return _from_rpc_error(error)
        for _ in range(STATUS_TRIES):
            self._note_status(self._call)
            if self._status and self._status.details != WRITE_FAULT:
                break
            await asyncio.sleep(STATUS_PAUSE_S)
        status = self._status
        if status is None:
            return _from_rpc_error(error)
        return None if status.code is grpc.StatusCode.OK else from_status(status.code, status.details, status.metadata)

    async def _finish(self, doubtful: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._forget(self)
        self._call.cancel()
        await self._reading.close()
        await self._connection.release(doubtful)


@dataclass(frozen=True, slots=True)
class _Status:
    """How a call ended."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str | bytes], ...]


def _at_once(answer: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that has nothing to wait for, such as a question about a call that has ended."""
    try:
        answer.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    answer.close()
    raise InternalError("a call that has ended does not know its status; report this with the version of grpcio")


class _Connection:
    """One channel, closed once it is retired and nobody uses it any more. Retired instead of repaired: gRPC would back off for seconds."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.converse: Any = channel.stream_stream(methods.path(methods.CONVERSE))
        self.describe: Any = channel.unary_unary(methods.path(methods.DESCRIBE))
        self.users = 0
        self.retired = False
        self._channel = channel

    async def release(self, doubtful: bool) -> None:
        self.users -= 1
        self.retired = self.retired or doubtful
        await self._close_when_unused()

    async def retire(self) -> None:
        self.retired = True
        await self._close_when_unused()

    async def _close_when_unused(self) -> None:
        if self.retired and self.users == 0:
            await self._channel.close()


def channel_options(settings: GrpcSettings) -> list[tuple[str, int]]:
    """gRPC's own options: bounds, signs of life, and no state shared with other connections."""
    return [
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", round(settings.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_deadline_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
    ]


def is_local(target: str) -> bool:
    """Whether the target is this machine. Raises SettingsError when it is not host:port."""
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(f"verifier address {target!r} cannot be used; expected host:port, as in 127.0.0.1:50051")
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(settings: GrpcSettings, local: bool) -> grpc.ChannelCredentials | None:
    if settings.tls is False and settings.root_certificates:
        raise SettingsError("root_certificates are given and tls is false; leave one of them out")
    if not (settings.tls or settings.root_certificates or (settings.tls is None and not local)):
        return None
    if settings.root_certificates is None:
        return grpc.ssl_channel_credentials()
    try:
        return grpc.ssl_channel_credentials(settings.root_certificates.read_bytes())
    except OSError as error:
        raise SettingsError(f"root_certificates: {error}. Expected a readable PEM file.") from error


def _from_rpc_error(error: AioRpcError) -> AirdraftError:
    return from_status(error.code(), error.details(), _metadata(error).items())


def _metadata(error: AioRpcError) -> dict[str, str | bytes]:
    return dict(tuple(error.trailing_metadata() or ()))


def _closed_here() -> UnavailableError:
    return UnavailableError("this stream has been closed on this side")
