"""The messages of the protocol as plain values. `airdraft.wire.codec` turns them into bytes; proto/README.md says what each means when."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from airdraft.settings import Sampling


class Finish(IntEnum):
    """Why a response ended; NO while it goes on."""

    NO = 0
    STOP_TOKEN = 1
    LENGTH = 2  # max_new_tokens reached
    CAPACITY = 3  # the verifier's context is full


class Outcome(IntEnum):
    """What became of a draft."""

    JUDGED = 0
    STALE = 1  # made from a prefix that is not the committed one; nothing changed


@dataclass(frozen=True, slots=True)
class RuleChoice:
    """An acceptance rule by name, with its parameters."""

    name: str = "exact"
    parameters: tuple[tuple[str, float], ...] = ()

    def parameter(self, name: str, default: float) -> float:
        """The value of one parameter, or `default` where it was not chosen."""
        return dict(self.parameters).get(name, default)


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What the device knows of its radio and link; None where it does not know."""

    snr_db: float | None = None
    uplink_bps: float | None = None
    downlink_bps: float | None = None
    round_trip_s: float | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """Everything a session's tokens depend on, and what each side may expect of the other. Fixed for the whole response."""

    protocol_version: int
    model: str  # the target the device expects; empty: whatever the verifier serves
    tokenizer_digest: bytes
    vocabulary_size: int
    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    rule: RuleChoice = RuleChoice()
    stop_tokens: tuple[int, ...] = ()
    max_new_tokens: int = 256


@dataclass(frozen=True, slots=True)
class Open:
    """Starts a session. `committed` holds tokens that an earlier verifier has already committed after the prompt (a re-opening)."""

    contract: Contract
    committed: tuple[int, ...] = ()
    epoch: int = 1
    stream: bool = False  # begin in stream mode at once, saving the round trip that a `Stream` message would cost


@dataclass(frozen=True, slots=True)
class Resume:
    """Continues a session after a cut. `committed_length` and `digest` say what the device holds."""

    session_id: str
    resume_token: bytes  # 16 bytes
    epoch: int  # the last one the device knows
    committed_length: int
    digest: int
    stream: bool = False


@dataclass(frozen=True, slots=True)
class QuantisedRow:
    """The distribution a draft token was drawn from: token ids [n], ascending, and integer weights [n] summing to `quantised_row.SCALE`."""

    tokens: tuple[int, ...]
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens [k] proposed for absolute positions `position` … `position + k - 1`, made from the prefix with this digest.

    `rows` [k] is there only when the rule needs it. An empty draft is allowed: its verdict brings one token.
    """

    epoch: int
    round: int
    position: int
    digest: int
    tokens: tuple[int, ...]
    channel: ChannelState | None = None
    rows: tuple[QuantisedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """Asks the verifier to decode by itself from the committed prefix (`on`), or to stop doing so."""

    epoch: int
    on: bool


DeviceMessage = Open | Resume | Draft | Stream


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the verifier's time went for one answer."""

    queue_s: float = 0.0  # waiting for a forward
    forward_s: float = 0.0  # the forward that judged it, whole
    share_s: float = 0.0  # this session's share of the forwards since the last answer, prefill included: what the cloud pays
    batch: int = 1  # sessions in that forward


@dataclass(frozen=True, slots=True)
class Opened:
    """Answers Open and Resume. After Resume, `tokens` are those committed since the device's `committed_length`."""

    session_id: str
    resume_token: bytes
    epoch: int
    draft_limit: int
    committed_length: int
    digest: int
    tokens: tuple[int, ...] = ()
    finish: Finish = Finish.NO


@dataclass(frozen=True, slots=True)
class Verdict:
    """Judges one draft: its first `accepted` tokens are committed, then `token` (None when the response ended before it)."""

    epoch: int
    round: int
    outcome: Outcome
    accepted: int
    token: int | None
    committed_length: int
    digest: int
    draft_limit: int
    finish: Finish = Finish.NO
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class Streamed:
    """Tokens that the verifier committed in stream mode, from `position` on. `last`: stream mode has ended with this message."""

    epoch: int
    position: int
    tokens: tuple[int, ...]
    committed_length: int
    digest: int
    draft_limit: int
    last: bool = False
    finish: Finish = Finish.NO
    timings: Timings = field(default_factory=Timings)


VerifierMessage = Opened | Verdict | Streamed


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a verifier is."""

    sessions: int
    session_limit: int
    queued_rows: int
    draining: bool


@dataclass(frozen=True, slots=True)
class Description:
    """Answers Describe: what a verifier serves, what it allows, how busy it is."""

    protocol_version: int
    software_version: str
    model: str
    tokenizer_digest: bytes
    vocabulary_size: int
    rules: tuple[str, ...]
    context_limit: int  # prompt + new tokens
    draft_limit: int
    load: Load
    peers: tuple[str, ...] = ()  # host:port of all verifiers of this model, itself included, the least loaded first
