"""What a session is and how each message changes it: pure functions from a state and a message to the next state and the answer.

It knows no clock, no model and no stream; `cloud.verifier` does the waiting and computing between `classify` and `commit_judgement`.

Invariant: `committed` = prompt + every token issued, and it only ever grows. Whatever arrives in whatever order, twice or late, either
extends it by the target's own tokens or leaves it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from airdraft.errors import DraftTooLongError, MalformedMessageError, ProtocolError, TokenOutOfRangeError
from airdraft.messages import Contract, Draft, Finish, Opened, Outcome, Resume, Streamed, Timings, Verdict
from airdraft.prefix import Prefix
from airdraft.quantised_row import validate, validate_drawn
from cloud.seams import Judgement

KEPT_VERDICTS = 64  # answers of the current epoch kept for repetition; a device keeps far fewer drafts in flight


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a device names a session and proves that it is its own."""

    session_id: str
    resume_token: bytes  # 16 random bytes


@dataclass(frozen=True, slots=True)
class Terms:
    """What stays fixed for the whole response."""

    contract: Contract
    context_limit: int  # prompt and response tokens; no more are ever committed
    row_width: int  # most entries of the row that the rule wants with each draft token; 0 when it wants none

    @property
    def longest(self) -> int:
        """Committed tokens, prompt included, at which the response ends at the latest."""
        return min(self.context_limit, len(self.contract.prompt) + self.contract.max_new_tokens)


@dataclass(frozen=True, slots=True)
class SessionState:
    """One moment of a session. `committed` and `verdicts` are never changed in place: every step makes new ones."""

    identity: Identity
    terms: Terms
    committed: Prefix
    epoch: int
    granted: int  # the largest draft limit granted in this epoch: an answer on its way may still have been the last one seen
    streaming: bool = False
    finish: Finish = Finish.NO
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)  # by round, this epoch only, oldest first


@dataclass(frozen=True, slots=True)
class Judge:
    """A draft to be put before the target: only `tokens` of it, since no more could be committed."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """A round that was answered before; the same answer again."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Stale:
    """A draft from a prefix that is not the committed one."""

    verdict: Verdict


def begin(identity: Identity, terms: Terms, committed: Sequence[int], epoch: int) -> SessionState:
    """The state of a session just opened; `committed` holds response tokens that an earlier verifier issued.

    Raises MalformedMessageError when those run past the point where the response had to end.
    """
    prefix = Prefix(terms.contract.prompt)
    kept, finish = _cut(terms, len(prefix), committed)
    if len(kept) != len(committed):
        raise MalformedMessageError(
            f"{len(committed)} committed tokens, but the response ended after {len(kept)} of them ({finish.name.lower()}). "
            "Open with the tokens up to that end, or not at all."
        )
    prefix.append(kept)
    return SessionState(identity, terms, prefix, epoch, granted=0, finish=finish)


def opened(state: SessionState, draft_limit: int, known_length: int | None = None) -> tuple[SessionState, Opened]:
    """Greet a device that holds the first `known_length` tokens (default: all of them)."""
    length = len(state.committed)
    known = length if known_length is None else known_length
    answer = Opened(
        session_id=state.identity.session_id,
        resume_token=state.identity.resume_token,
        epoch=state.epoch,
        draft_limit=draft_limit,
        committed_length=length,
        digest=state.committed.digest(),
        tokens=state.committed.tokens(known),
        finish=state.finish,
    )
    return _granting(state, draft_limit), answer


def resume(state: SessionState, message: Resume, draft_limit: int) -> tuple[SessionState, Opened]:
    """Continue after a cut, in a new epoch and with stream mode off; the answer carries what the device missed.

    Raises ProtocolError when the device holds something that is not a prefix of the committed text.
    """
    shortest, length = len(state.terms.contract.prompt), len(state.committed)
    if not shortest <= message.committed_length <= length:
        raise ProtocolError(
            f"the device holds {message.committed_length} committed tokens; expected {shortest} (the prompt) to {length}. Open anew."
        )
    if state.committed.digest(message.committed_length) != message.digest:
        raise ProtocolError(
            f"the device's first {message.committed_length} tokens are not the committed ones (digests differ). "
            "Open anew with the right ones."
        )
    if message.epoch > state.epoch:
        raise ProtocolError(f"epoch {message.epoch} was never granted; the latest is {state.epoch}. Resume with that or an earlier one.")
    fresh = replace(state, epoch=state.epoch + 1, granted=0, streaming=False, verdicts={})
    return opened(fresh, draft_limit, message.committed_length)


def classify(state: SessionState, draft: Draft) -> Judge | Replay | Stale:
    """What to do with a draft. Changes nothing; a stale answer is to be recorded with `record`.

    Raises DraftTooLongError, TokenOutOfRangeError or MalformedMessageError for a draft of this epoch that breaks the contract.
    """
    if draft.epoch != state.epoch:
        return Stale(_stale(state, draft))
    known = state.verdicts.get(draft.round)
    if known is not None:
        return Replay(known)
    _refuse_faults(state, draft)
    current = draft.position == len(state.committed) and draft.digest == state.committed.digest()
    if not current or state.streaming or state.finish:
        return Stale(_stale(state, draft))
    return Judge(_worth_judging(state, draft.tokens))


def record(state: SessionState, verdict: Verdict) -> SessionState:
    """Remember an answer, so that its round, asked again, is answered alike. Answers to another epoch are not kept."""
    if verdict.epoch != state.epoch:
        return state
    verdicts = {**state.verdicts, verdict.round: verdict}
    while len(verdicts) > KEPT_VERDICTS:
        del verdicts[next(iter(verdicts))]
    return replace(_granting(state, verdict.draft_limit), verdicts=verdicts)


def commit_judgement(
    state: SessionState, draft: Draft, judgement: Judgement, draft_limit: int, timings: Timings
) -> tuple[SessionState, Verdict]:
    """Commit what the rule let stand of a draft that `classify` gave to judge, and the target's token after it."""
    proposed = (*draft.tokens[: judgement.accepted], judgement.token)
    state, kept = _commit(state, proposed)
    verdict = Verdict(
        epoch=state.epoch,
        round=draft.round,
        outcome=Outcome.JUDGED,
        accepted=min(judgement.accepted, len(kept)),
        token=judgement.token if len(kept) == len(proposed) else None,
        committed_length=len(state.committed),
        digest=state.committed.digest(),
        draft_limit=draft_limit,
        finish=state.finish,
        timings=timings,
    )
    return record(state, verdict), verdict


def start_streaming(state: SessionState) -> SessionState:
    """Enter stream mode; a finished session stays as it is."""
    return state if state.finish else replace(state, streaming=True)


def commit_streamed(state: SessionState, token: int, draft_limit: int, timings: Timings) -> tuple[SessionState, Streamed]:
    """Commit one token that the target decoded by itself. The answer is the last one when the response ends with it."""
    position = len(state.committed)
    state, kept = _commit(state, (token,))
    return _streamed(state, position, kept, draft_limit, timings)


def stop_streaming(state: SessionState, draft_limit: int, timings: Timings) -> tuple[SessionState, Streamed]:
    """Leave stream mode at the device's wish: an empty, last answer."""
    return _streamed(replace(state, streaming=False), len(state.committed), (), draft_limit, timings)


def _streamed(
    state: SessionState, position: int, tokens: tuple[int, ...], draft_limit: int, timings: Timings
) -> tuple[SessionState, Streamed]:
    answer = Streamed(
        epoch=state.epoch,
        position=position,
        tokens=tokens,
        committed_length=len(state.committed),
        digest=state.committed.digest(),
        draft_limit=draft_limit,
        last=not state.streaming,
        finish=state.finish,
        timings=timings,
    )
    return _granting(state, draft_limit), answer


def _stale(state: SessionState, draft: Draft) -> Verdict:
    """Names the draft's own epoch and round, so that the device cannot take it for an answer to another draft."""
    return Verdict(
        epoch=draft.epoch,
        round=draft.round,
        outcome=Outcome.STALE,
        accepted=0,
        token=None,
        committed_length=len(state.committed),
        digest=state.committed.digest(),
        draft_limit=max(state.granted, 1),
        finish=state.finish,
    )


def _granting(state: SessionState, draft_limit: int) -> SessionState:
    return state if draft_limit <= state.granted else replace(state, granted=draft_limit)


def _commit(state: SessionState, proposed: Sequence[int]) -> tuple[SessionState, tuple[int, ...]]:
    """Append what may be appended of `proposed`; also what that was."""
    kept, finish = _cut(state.terms, len(state.committed), proposed)
    committed = state.committed.copy()
    committed.append(kept)
    return replace(state, committed=committed, finish=finish, streaming=state.streaming and not finish), kept


def _cut(terms: Terms, length: int, proposed: Sequence[int]) -> tuple[tuple[int, ...], Finish]:
    """The part of `proposed` that a text of `length` tokens may grow by, and whether it ends there. A stop token is part of the text."""
    room = max(terms.longest - length, 0)
    kept = tuple(proposed[:room])
    for index, token in enumerate(kept):
        if token in terms.contract.stop_tokens:
            return kept[: index + 1], Finish.STOP_TOKEN
    if len(kept) < room:
        return kept, Finish.NO
    by_length = terms.longest == len(terms.contract.prompt) + terms.contract.max_new_tokens
    return kept, Finish.LENGTH if by_length else Finish.CAPACITY


def _worth_judging(state: SessionState, tokens: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out draft tokens after a stop token or past the response's end."""
    return _cut(state.terms, len(state.committed), tokens)[0]


def _refuse_faults(state: SessionState, draft: Draft) -> None:
    count, vocabulary = len(draft.tokens), state.terms.contract.vocabulary_size
    if count > state.granted:
        raise DraftTooLongError(
            f"a draft of {count} tokens in round {draft.round}; expected at most the {state.granted} granted. "
            "Keep to the draft limit of the last answer."
        )
    for token in draft.tokens:
        if not 0 <= token < vocabulary:
            raise TokenOutOfRangeError(
                f"draft token {token} in round {draft.round}; expected 0 to {vocabulary - 1}. Use the target's tokenizer."
            )
    if state.terms.row_width:
        _refuse_faulty_rows(state, draft)


def _refuse_faulty_rows(state: SessionState, draft: Draft) -> None:
    rule = state.terms.contract.rule.name
    if len(draft.rows) != len(draft.tokens):
        raise MalformedMessageError(
            f"{len(draft.rows)} rows for {len(draft.tokens)} draft tokens in round {draft.round}; "
            f"the rule {rule!r} needs one for each. Send the row that each token was drawn from."
        )
    for token, row in zip(draft.tokens, draft.rows, strict=True):
        validate(row, state.terms.contract.vocabulary_size, state.terms.row_width)
        validate_drawn(row, token)
