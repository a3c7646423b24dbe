"""Every error that airdraft raises on purpose, as one tree; `airdraft.wire.status` maps it to gRPC status codes.

AirdraftError
├── SettingsError            a setting, flag or file that cannot be used as given
├── ModelError               a model that cannot be had or used
│   ├── UnknownModelError        no such name, folder or file
│   ├── ModelUnavailableError    no source could deliver it
│   ├── CorruptModelError        its bytes do not match their digest
│   ├── DiskFullError            not enough room for it
│   └── PairMismatchError        drafter and target do not share a tokenizer
├── ContractError            device and verifier cannot agree to work together
│   ├── ProtocolVersionError
│   ├── TokenizerMismatchError
│   ├── WrongModelError
│   ├── UnknownRuleError
│   └── PromptTooLongError
├── ProtocolError            a message that breaks the protocol; it ends its own session only
│   ├── MalformedMessageError
│   ├── TokenOutOfRangeError
│   └── DraftTooLongError
├── SessionError             a session that cannot be used
│   ├── UnknownSessionError      never existed here, expired, or lost in a restart: open again
│   ├── ForgedSessionError       the resume token is not the one that was issued
│   └── SupersededError          another stream has resumed this session
├── CapacityError            the verifier is full; `retry_after_s` says when to try again
├── UnavailableError         the verifier cannot be reached, or is going away
│   ├── DrainingError            it takes no new sessions; open elsewhere
│   └── LinkLostError            no answer within the deadline the user chose
├── DeadlineError            one wait took longer than allowed
└── InternalError            a fault of airdraft's own
"""

from __future__ import annotations

from typing import ClassVar


class AirdraftError(Exception):
    """An error of airdraft's own.

    `code` is the stable name that crosses the link; `retry_after_s` says when trying again may help (None: it will not, or at once);
    `peers` names other verifiers (host:port) that may help instead.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, retry_after_s: float | None = None, peers: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.peers = peers


class SettingsError(AirdraftError):
    code = "settings"


class ModelError(AirdraftError):
    code = "model"


class UnknownModelError(ModelError):
    code = "model.unknown"


class ModelUnavailableError(ModelError):
    code = "model.unavailable"


class CorruptModelError(ModelError):
    code = "model.corrupt"


class DiskFullError(ModelError):
    code = "model.disk_full"


class PairMismatchError(ModelError):
    code = "model.pair"


class ContractError(AirdraftError):
    code = "contract"


class ProtocolVersionError(ContractError):
    code = "contract.version"


class TokenizerMismatchError(ContractError):
    code = "contract.tokenizer"


class WrongModelError(ContractError):
    code = "contract.model"


class UnknownRuleError(ContractError):
    code = "contract.rule"


class PromptTooLongError(ContractError):
    code = "contract.prompt_too_long"


class ProtocolError(AirdraftError):
    code = "protocol"


class MalformedMessageError(ProtocolError):
    code = "protocol.malformed"


class TokenOutOfRangeError(ProtocolError):
    code = "protocol.token_out_of_range"


class DraftTooLongError(ProtocolError):
    code = "protocol.draft_too_long"


class SessionError(AirdraftError):
    code = "session"


class UnknownSessionError(SessionError):
    code = "session.unknown"


class ForgedSessionError(SessionError):
    code = "session.forged"


class SupersededError(SessionError):
    code = "session.superseded"


class CapacityError(AirdraftError):
    code = "capacity"


class UnavailableError(AirdraftError):
    code = "unavailable"


class DrainingError(UnavailableError):
    code = "unavailable.draining"


class LinkLostError(UnavailableError):
    code = "unavailable.link_lost"


class DeadlineError(AirdraftError):
    code = "deadline"


class InternalError(AirdraftError):
    code = "internal"


def every_error() -> tuple[type[AirdraftError], ...]:
    """All classes of the tree, parents before children."""
    found: list[type[AirdraftError]] = [AirdraftError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return tuple(found)
