"""What the device knows of one response, and how each message changes it. Pure: no clock, no link, no drafter.

Only the verifier commits: `apply` turns its messages into newly committed tokens, ignores what is old, and refuses what cannot follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from airdraft.errors import DraftTooLongError, MalformedMessageError, TokenOutOfRangeError
from airdraft.messages import (
    ChannelState,
    Contract,
    Draft,
    Finish,
    Open,
    Opened,
    Outcome,
    Resume,
    Stream,
    Streamed,
    Verdict,
    VerifierMessage,
)
from airdraft.prefix import Prefix, extend
from edge.seams import DraftStep, Origin, Token


class StreamMode(IntEnum):
    """Who decodes, as far as the device knows."""

    OFF = 0
    ON = 1
    ENDING = 2  # asked to end; Streamed messages still come, until the one marked last


@dataclass(frozen=True, slots=True)
class SessionKey:
    """What proves to the verifier which session this is."""

    session_id: str
    resume_token: bytes


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Everything the device knows. `committed` is never changed in place, so that an older state stays what it was."""

    contract: Contract
    committed: Prefix
    draft_limit: int  # most tokens in the next draft, as last granted
    epoch: int = 0
    key: SessionKey | None = None  # None: no verifier knows this response (yet, or any more)
    awaiting_opened: bool = True  # an Open or Resume is, or has to be, on its way
    next_round: int = 1
    drafts: tuple[Draft, ...] = ()  # sent and not answered, oldest first; kept over a cut until Opened says what became of them
    mode: StreamMode = StreamMode.OFF
    finish: Finish = Finish.NO

    @property
    def generated(self) -> int:
        """Committed tokens after the prompt."""
        return len(self.committed) - len(self.contract.prompt)

    @property
    def may_draft(self) -> bool:
        """Whether a draft can be sent now: its epoch must be known, which after a Resume it is only once Opened is there."""
        return self.finish is Finish.NO and (self.key is None or not self.awaiting_opened) and self.epoch > 0


def begin(contract: Contract, first_draft_limit: int) -> DeviceState:
    """The state before anything was sent. `first_draft_limit` holds until the verifier grants another."""
    return DeviceState(contract, Prefix(contract.prompt), first_draft_limit)


def opening(state: DeviceState, stream: bool = False) -> tuple[DeviceState, Open | Resume]:
    """The message that starts a stream: Resume when a session is known, else Open with all that is committed, under a new epoch."""
    mode = StreamMode.ON if stream else StreamMode.OFF
    if state.key is None:
        epoch = state.epoch + 1
        opened = replace(state, epoch=epoch, awaiting_opened=True, mode=mode)
        return opened, Open(state.contract, state.committed.tokens(len(state.contract.prompt)), epoch, stream)
    resume = Resume(state.key.session_id, state.key.resume_token, state.epoch, len(state.committed), state.committed.digest(), stream)
    return replace(state, awaiting_opened=True, mode=mode), resume


def forget_session(state: DeviceState) -> DeviceState:
    """The verifier no longer knows this session: the next opening is an Open with the committed tokens."""
    return replace(state, key=None, awaiting_opened=True)


def next_draft(
    state: DeviceState, steps: Sequence[DraftStep], channel: ChannelState | None = None, assumed: Sequence[int] = ()
) -> tuple[DeviceState, Draft]:
    """The draft message for these steps (none: an empty draft).

    `assumed`: tokens that the steps were made after but that are not committed yet (a draft sent ahead); empty for the sequential schedule.
    Raises DraftTooLongError when there are more steps than the verifier has granted.
    """
    if len(steps) > state.draft_limit:
        raise DraftTooLongError(f"a draft of {len(steps)} tokens; the verifier granted {state.draft_limit}. Send fewer.")
    digest = state.committed.digest()
    for token in assumed:
        digest = extend(digest, token)
    draft = Draft(
        epoch=state.epoch,
        round=state.next_round,
        position=len(state.committed) + len(assumed),
        digest=digest,
        tokens=tuple(step.token for step in steps),
        channel=channel,
        rows=tuple(step.row for step in steps if step.row is not None),
    )
    return replace(state, next_round=state.next_round + 1, drafts=(*state.drafts, draft)), draft


def switch_stream(state: DeviceState, on: bool) -> tuple[DeviceState, Stream]:
    """The message that turns stream mode on, or asks for its end (after which Streamed messages come until one is marked last)."""
    mode = StreamMode.ON if on else StreamMode.ENDING
    return replace(state, mode=mode), Stream(state.epoch, on)


def apply(state: DeviceState, message: VerifierMessage) -> tuple[DeviceState, tuple[Token, ...]]:
    """The state after a message, and the tokens that it newly committed.

    Duplicates, old epochs and answers to forgotten drafts change nothing. Raises MalformedMessageError for what cannot follow from
    this state (a gap, a digest of another text, a verdict that nobody asked for) and TokenOutOfRangeError for an impossible token.
    """
    if state.finish is not Finish.NO or message.epoch < state.epoch:
        return state, ()
    if isinstance(message, Opened):
        return _apply_opened(state, message)
    if state.awaiting_opened and state.key is not None:
        return state, ()  # Resume is under way: Opened will bring what this would have brought
    if state.awaiting_opened or message.epoch > state.epoch:
        raise MalformedMessageError(
            f"{type(message).__name__} of epoch {message.epoch} before Opened; the device's epoch is {state.epoch}."
        )
    if isinstance(message, Verdict):
        return _apply_verdict(state, message)
    return _apply_streamed(state, message)


def _apply_opened(state: DeviceState, message: Opened) -> tuple[DeviceState, tuple[Token, ...]]:
    if not state.awaiting_opened or (state.key is not None and message.epoch == state.epoch):
        if message.epoch > state.epoch:
            raise MalformedMessageError(f"Opened for epoch {message.epoch}, which nobody asked for; the device's epoch is {state.epoch}.")
        return state, ()
    if state.key is None and message.epoch != state.epoch:
        raise MalformedMessageError(f"Open asked for epoch {state.epoch} and Opened answers epoch {message.epoch}.")
    first = len(state.committed)
    committed = _committed(state, message.tokens, message.committed_length, message.digest)
    opened = replace(
        state,
        committed=committed,
        draft_limit=message.draft_limit,
        epoch=message.epoch,
        key=SessionKey(message.session_id, message.resume_token),
        awaiting_opened=False,
        drafts=() if state.key is not None or message.tokens else _still_in_flight(state),
        finish=message.finish,
    )
    return opened, _with_origins(first, message.tokens, _draft_from(state.drafts, first))


def _still_in_flight(state: DeviceState) -> tuple[Draft, ...]:
    """Drafts sent behind an Open, before its Opened: those of this epoch will be judged, those of an earlier one were lost."""
    return tuple(draft for draft in state.drafts if draft.epoch == state.epoch)


def _apply_verdict(state: DeviceState, message: Verdict) -> tuple[DeviceState, tuple[Token, ...]]:
    draft = next((draft for draft in state.drafts if draft.round == message.round), None)
    if draft is None:
        if message.round >= state.next_round:
            raise MalformedMessageError(f"a verdict on round {message.round}; the device has sent {state.next_round - 1} so far.")
        return state, ()
    rest = tuple(other for other in state.drafts if other is not draft)
    if message.outcome is Outcome.STALE:
        _check_stale(state, draft, message)
        finish = message.finish if message.committed_length == len(state.committed) else Finish.NO
        return replace(state, drafts=rest, draft_limit=message.draft_limit, finish=finish), ()
    if not 0 <= message.accepted <= len(draft.tokens):
        raise MalformedMessageError(f"a verdict accepts {message.accepted} tokens of a draft of {len(draft.tokens)}.")
    if message.token is None and message.finish is Finish.NO:
        raise MalformedMessageError("a verdict without a token, though the response goes on; expected the target's token.")
    first = len(state.committed)
    if draft.position != first:
        raise MalformedMessageError(f"a verdict on a draft from position {draft.position}; the device holds {first} committed tokens.")
    tokens = draft.tokens[: message.accepted] + (() if message.token is None else (message.token,))
    committed = _committed(state, tokens, message.committed_length, message.digest)
    judged = replace(state, committed=committed, drafts=rest, draft_limit=message.draft_limit, finish=message.finish)
    return judged, _with_origins(first, tokens, draft)


def _check_stale(state: DeviceState, draft: Draft, message: Verdict) -> None:
    """A draft is stale because the committed text moved on, or because the verifier is streaming; else the two sides disagree for good."""
    if message.committed_length <= len(state.committed) and state.committed.digest(message.committed_length) != message.digest:
        raise MalformedMessageError(
            f"the verifier's committed text differs from the device's within its first {message.committed_length} tokens."
        )
    current = (draft.epoch, draft.position, draft.digest) == (message.epoch, message.committed_length, message.digest)
    if current and state.mode is StreamMode.OFF and message.finish is Finish.NO:
        raise MalformedMessageError(
            f"round {draft.round} called stale, though it was made from the committed text as the verdict states it."
        )


def _apply_streamed(state: DeviceState, message: Streamed) -> tuple[DeviceState, tuple[Token, ...]]:
    first = len(state.committed)
    if message.position + len(message.tokens) != message.committed_length:
        raise MalformedMessageError(
            f"{len(message.tokens)} streamed tokens from position {message.position} cannot end at the stated {message.committed_length}."
        )
    if message.position > first:
        raise MalformedMessageError(f"streamed tokens from position {message.position}; the device holds {first}: some are missing.")
    mode = StreamMode.OFF if message.last else state.mode
    if message.committed_length <= first:
        if state.committed.digest(message.committed_length) != message.digest:
            raise MalformedMessageError(f"streamed tokens up to {message.committed_length} differ from those committed before.")
        finish = message.finish if message.committed_length == first else Finish.NO
        return replace(state, mode=mode, draft_limit=message.draft_limit, finish=finish), ()
    tokens = message.tokens[first - message.position :]
    committed = _committed(state, tokens, message.committed_length, message.digest)
    after = replace(state, committed=committed, draft_limit=message.draft_limit, mode=mode, finish=message.finish)
    return after, _with_origins(first, tokens, None)


def _committed(state: DeviceState, tokens: Sequence[int], length: int, digest: int) -> Prefix:
    """The committed text with `tokens` after it, checked against the length and digest that the verifier states."""
    for token in tokens:
        if not 0 <= token < state.contract.vocabulary_size:
            raise TokenOutOfRangeError(f"token {token} from the verifier; expected 0 … {state.contract.vocabulary_size - 1}.")
    if len(state.committed) + len(tokens) != length:
        raise MalformedMessageError(f"{len(tokens)} tokens after {len(state.committed)} cannot make the stated committed length {length}.")
    if state.generated + len(tokens) > state.contract.max_new_tokens:
        raise MalformedMessageError(f"the verifier committed more than the {state.contract.max_new_tokens} new tokens of the contract.")
    committed = state.committed
    if tokens:
        committed = committed.copy()
        committed.append(tokens)
    if committed.digest() != digest:
        raise MalformedMessageError(f"the first {length} committed tokens have another digest at the verifier: the two texts differ.")
    return committed


def _draft_from(drafts: Sequence[Draft], position: int) -> Draft | None:
    return next((draft for draft in drafts if draft.position == position), None)


def _with_origins(first: int, tokens: Sequence[int], draft: Draft | None) -> tuple[Token, ...]:
    """Tokens [n] from position `first` on, told apart by what the draft for that position proposed (no draft: they were streamed)."""
    if draft is None:
        return tuple(Token(token, first + index, Origin.STREAMED) for index, token in enumerate(tokens))
    found: list[Token] = []
    agreed = True
    for index, token in enumerate(tokens):
        if not agreed or index > len(draft.tokens):
            origin = Origin.STREAMED
        elif index == len(draft.tokens):
            origin = Origin.BONUS
        else:
            agreed = token == draft.tokens[index]
            origin = Origin.ACCEPTED if agreed else Origin.CORRECTED
        found.append(Token(token, first + index, origin))
    return tuple(found)
