"""A session's computing: it finds the slot, feeds what the slot lacks, and puts drafts before the target and the rule.

It reads a session's state and never changes it; what follows from a judgement is committed by its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from airdraft.messages import ChannelState, QuantisedRow, Timings
from cloud.batcher import Batcher
from cloud.seams import Block, Judgement, Question, Rows
from cloud.sessions import Session
from cloud.slots import Hold, SlotTable


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the device offers for the next positions; nothing at all when the verifier decodes by itself."""

    tokens: tuple[int, ...] = ()  # [k]
    channel: ChannelState | None = None
    rows: tuple[QuantisedRow, ...] = ()  # [k] when the rule needs them


NOTHING = Proposal()


@dataclass(frozen=True, slots=True)
class Judged:
    """The rule's judgement and what it cost."""

    judgement: Judgement
    timings: Timings


class Turn:
    """A session's time in its slot, to be used in a `with`; nobody else can have the slot meanwhile."""

    __slots__ = ("_batcher", "_hold", "_session")

    def __init__(self, session: Session, hold: Hold, batcher: Batcher) -> None:
        self._session = session
        self._hold = hold
        self._batcher = batcher

    async def judge(self, proposal: Proposal) -> Judged:
        """One forward over the last committed token and the proposed ones; more only when the slot lacks older tokens.

        Raises CapacityError, InternalError or DrainingError as the batcher does.
        """
        session, state = self._session, self._session.state
        length = len(state.committed)

        def then(rows: Rows) -> Judgement:
            sampling = state.terms.contract.sampling
            return session.rule.judge(Question(length, proposal.tokens, rows, sampling, proposal.channel, proposal.rows))

        block = self._block(proposal.tokens, wanted=len(proposal.tokens) + 1)
        answer = await self._batcher.submit(block, then, self._progress)
        self._hold.keep = length + answer.result.accepted
        return Judged(answer.result, Timings(answer.queue_s, answer.forward_s, session.take_share_s(), answer.batch))

    async def prefill(self) -> None:
        """Feed all committed tokens but the last, which goes with the first draft."""
        block = self._block((), wanted=0)
        if block.tokens:
            await self._batcher.submit(block, lambda rows: None, self._progress)

    def _block(self, proposed: Sequence[int], wanted: int) -> Block:
        committed = self._session.state.committed
        last = len(committed) - 1
        start = min(self._hold.cached, last)
        self._hold.cut(start)
        tokens = committed.tokens(start) if wanted else committed.tokens(start, last)
        return Block(self._hold.slot, start, (*tokens, *proposed), wanted)

    def _progress(self, piece: Block, share_s: float) -> None:
        self._hold.fed(piece.position, piece.tokens)
        self._session.owed_share_s += share_s

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hold.__exit__(kind, error, trace)


class Rounds:
    """Gives sessions their turns."""

    def __init__(self, slots: SlotTable, batcher: Batcher) -> None:
        self._slots = slots
        self._batcher = batcher

    async def turn(self, session: Session) -> Turn:
        """Wait for a slot. Raises CapacityError when that takes too long."""
        return Turn(session, await self._slots.acquire(session.id, session.state.committed), self._batcher)

    async def prefill(self, session: Session) -> None:
        """Bring a session's committed tokens into a slot ahead of its first draft."""
        with await self.turn(session) as turn:
            await turn.prefill()
