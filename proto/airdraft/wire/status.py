"""The one table between airdraft's errors and gRPC status, read both ways. It knows no call: only codes, words and metadata."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable

from grpc import StatusCode

from airdraft import errors
from airdraft.errors import AirdraftError

ERROR_KEY = "airdraft-error"
RETRY_KEY = "airdraft-retry-after-ms"
PEERS_KEY = "airdraft-peers"
MAX_PEERS_TOLD = 8
MAX_MESSAGE_BYTES = 2000  # a status travels in headers, which gRPC bounds at 8 KB after percent-encoding of up to three for one

Metadata = tuple[tuple[str, str], ...]

STATUS_OF: dict[type[AirdraftError], StatusCode] = {
    errors.AirdraftError: StatusCode.UNKNOWN,
    errors.SettingsError: StatusCode.INVALID_ARGUMENT,
    errors.ModelError: StatusCode.FAILED_PRECONDITION,
    errors.UnknownModelError: StatusCode.NOT_FOUND,
    errors.ModelUnavailableError: StatusCode.FAILED_PRECONDITION,
    errors.CorruptModelError: StatusCode.DATA_LOSS,
    errors.DiskFullError: StatusCode.RESOURCE_EXHAUSTED,
    errors.PairMismatchError: StatusCode.FAILED_PRECONDITION,
    errors.ContractError: StatusCode.FAILED_PRECONDITION,
    errors.ProtocolVersionError: StatusCode.UNIMPLEMENTED,
    errors.TokenizerMismatchError: StatusCode.FAILED_PRECONDITION,
    errors.WrongModelError: StatusCode.FAILED_PRECONDITION,
    errors.UnknownRuleError: StatusCode.FAILED_PRECONDITION,
    errors.PromptTooLongError: StatusCode.OUT_OF_RANGE,
    errors.ProtocolError: StatusCode.INVALID_ARGUMENT,
    errors.MalformedMessageError: StatusCode.INVALID_ARGUMENT,
    errors.TokenOutOfRangeError: StatusCode.OUT_OF_RANGE,
    errors.DraftTooLongError: StatusCode.OUT_OF_RANGE,
    errors.SessionError: StatusCode.FAILED_PRECONDITION,
    errors.UnknownSessionError: StatusCode.NOT_FOUND,
    errors.ForgedSessionError: StatusCode.PERMISSION_DENIED,
    errors.SupersededError: StatusCode.ABORTED,
    errors.CapacityError: StatusCode.RESOURCE_EXHAUSTED,
    errors.UnavailableError: StatusCode.UNAVAILABLE,
    errors.DrainingError: StatusCode.UNAVAILABLE,
    errors.LinkLostError: StatusCode.UNAVAILABLE,
    errors.DeadlineError: StatusCode.DEADLINE_EXCEEDED,
    errors.InternalError: StatusCode.INTERNAL,
}

# A status without our metadata. A verifier names every error of its own, so "internal" or "unknown" from nowhere is a broken connection.
CLASS_OF_BARE: dict[StatusCode, type[AirdraftError]] = {
    StatusCode.CANCELLED: errors.UnavailableError,
    StatusCode.UNKNOWN: errors.UnavailableError,
    StatusCode.INVALID_ARGUMENT: errors.ProtocolError,
    StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    StatusCode.NOT_FOUND: errors.SessionError,
    StatusCode.ALREADY_EXISTS: errors.SessionError,
    StatusCode.PERMISSION_DENIED: errors.ContractError,
    StatusCode.UNAUTHENTICATED: errors.ContractError,
    StatusCode.RESOURCE_EXHAUSTED: errors.CapacityError,
    StatusCode.FAILED_PRECONDITION: errors.ContractError,
    StatusCode.ABORTED: errors.UnavailableError,
    StatusCode.OUT_OF_RANGE: errors.ProtocolError,
    StatusCode.UNIMPLEMENTED: errors.ProtocolVersionError,
    StatusCode.INTERNAL: errors.UnavailableError,
    StatusCode.UNAVAILABLE: errors.UnavailableError,
    StatusCode.DATA_LOSS: errors.UnavailableError,
}
_CLASS_OF_CODE = {kind.code: kind for kind in STATUS_OF}
_ADDRESS = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,250}:\d{1,5}")  # host:port
_OVER_SIZED = "larger than max"  # gRPC's words for a message over the limit, the only sign that tells it from a full server


def to_status(error: AirdraftError) -> tuple[StatusCode, str, Metadata]:
    """Status code, details and trailing metadata for an error. A class from outside the tree travels as its nearest ancestor."""
    kind = next(kind for kind in type(error).__mro__ if kind in STATUS_OF)
    metadata: Metadata = ((ERROR_KEY, kind.code),)
    if error.retry_after_s is not None:
        metadata += ((RETRY_KEY, str(max(0, round(error.retry_after_s * 1000)))),)
    if peers := ",".join(filter(_ADDRESS.fullmatch, error.peers[:MAX_PEERS_TOLD])):
        metadata += ((PEERS_KEY, peers),)
    return STATUS_OF[kind], _shortened(error.message), metadata


def from_status(code: StatusCode, details: str | None, metadata: Iterable[tuple[str, str | bytes]] = ()) -> AirdraftError:
    """The error that a status stands for. A name from a newer version falls back on its parent, a status without a name on its code."""
    entries = dict(metadata)
    kind = _class_of(entries.get(ERROR_KEY)) or _class_of_bare(code, details or "")
    words = details or f"the call ended with status {code.name} and no words"
    return kind(words, retry_after_s=_retry_after_s(entries.get(RETRY_KEY)), peers=_peers(entries.get(PEERS_KEY)))


def contained(error: Exception, log: logging.Logger) -> AirdraftError:
    """The error to send for an exception: our own as it is; any other is logged under a short id, and an InternalError names that id."""
    if isinstance(error, AirdraftError):
        return error
    fault = secrets.token_hex(4)
    log.error("fault %s ended one call", fault, exc_info=error)
    return errors.InternalError(
        f"the verifier hit a fault of its own, {fault} in its log; resume or open again, and report it if it comes back"
    )


def _class_of(name: str | bytes | None) -> type[AirdraftError] | None:
    if not isinstance(name, str):
        return None
    while name and name not in _CLASS_OF_CODE:
        name = name.rpartition(".")[0]
    return _CLASS_OF_CODE.get(name)


def _class_of_bare(code: StatusCode, details: str) -> type[AirdraftError]:
    if code is StatusCode.RESOURCE_EXHAUSTED and _OVER_SIZED in details:
        return errors.MalformedMessageError
    return CLASS_OF_BARE.get(code, errors.UnavailableError)


def _retry_after_s(value: str | bytes | None) -> float | None:
    return int(value) / 1000 if isinstance(value, str) and value.isdecimal() and len(value) < 12 else None


def _peers(value: str | bytes | None) -> tuple[str, ...]:
    named = value.split(",")[:MAX_PEERS_TOLD] if isinstance(value, str) else []
    return tuple(filter(_ADDRESS.fullmatch, named))


def _shortened(message: str) -> str:
    return message.encode(errors="replace")[:MAX_MESSAGE_BYTES].decode(errors="ignore")
