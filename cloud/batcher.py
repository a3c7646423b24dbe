"""Puts waiting blocks of many sessions together into forwards of the target, and shares out what each forward cost.

It knows blocks and rows; what a block means, who owns a slot and what is done with the rows is up to whoever submits it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from airdraft.clock import Clock, Work
from airdraft.errors import AirdraftError, DrainingError, InternalError
from cloud.admission import Limits, admit_rows
from cloud.rhythm import Rhythm
from cloud.seams import Block, Rows, Target
from cloud.settings import PREFILL_FLOOR, VerifierSettings

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Progress = Callable[[Block, float], None]


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """What became of a block, and what that took."""

    result: Result
    queue_s: float  # waiting, all of it
    forward_s: float  # the forward that brought the rows, whole
    batch: int  # sequences in that forward


@dataclass(slots=True, eq=False)
class _Item:
    block: Block
    then: Callable[[Rows], Any]
    progress: Progress
    answered: asyncio.Future[Answer[Any]]
    submitted_at: float
    fed: int = 0  # tokens of the block that earlier forwards have fed
    computed_s: float = 0.0  # those forwards' time

    @property
    def remaining(self) -> int:
        return len(self.block.tokens) - self.fed

    @property
    def bulk(self) -> int:
        """Tokens left before those that rows are wanted for: these may be fed piece by piece."""
        return self.remaining - self.block.wanted

    def piece(self, count: int) -> Block:
        wanted = self.block.wanted if count == self.remaining else 0
        tokens = self.block.tokens[self.fed : self.fed + count]
        return replace(self.block, position=self.block.position + self.fed, tokens=tokens, wanted=wanted)


@dataclass(frozen=True, slots=True)
class _Piece:
    item: _Item
    block: Block

    @property
    def is_last(self) -> bool:
        return len(self.block.tokens) == self.item.remaining


@dataclass(slots=True)
class BatcherCounts:
    """Sums since the start."""

    forwards: int = 0
    rows: int = 0
    sequences: int = 0
    compute_s: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a piece's rows turned into on the compute thread: a result or what went wrong with making it."""

    result: Any = None
    error: Exception | None = None


class Batcher:
    """A bounded queue of blocks before one target. Its task lives while blocks wait; an idle batcher does nothing at all."""

    def __init__(self, target: Target, clock: Clock, settings: VerifierSettings) -> None:
        self._target = target
        self._clock = clock
        self._settings = settings
        self._limits = Limits(settings.sessions, settings.max_draft, settings.max_rows, settings.queue_rows)
        self._waiting: list[_Item] = []
        self._queued_rows = 0
        self._runner: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._rhythm = Rhythm()
        self._rows_per_s: float | None = None
        self._closed = False
        self.counts = BatcherCounts()

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a forward."""
        return self._queued_rows

    async def submit(self, block: Block, then: Callable[[Rows], Result], progress: Progress) -> Answer[Result]:
        """Feed a block, and answer with what `then` makes of its wanted rows on the compute thread, right after the forward.

        Tokens before the wanted ones are fed in as many forwards as leave room for others; `progress(piece, share_s)` is called after each
        one, with what this block owes of its time. Cancelling the wait drops the block. Raises CapacityError when the queue is full,
        InternalError when the target or `then` fails on this block, DrainingError once closed.
        """
        if self._closed:
            raise DrainingError("the verifier has stopped. Resume at another one.")
        admit_rows(len(block.tokens), self.queued_rows, self._limits, self._rows_per_s)
        now = self._clock.now()
        item = _Item(block, then, progress, asyncio.get_running_loop().create_future(), now)
        self._waiting.append(item)
        self._queued_rows += item.remaining
        self._rhythm.came(block.slot, now)
        self._arrived.set()
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="batcher")
        return await item.answered

    async def close(self, wait_s: float = 5.0) -> None:
        """Refuse and drop all blocks; let the forward that is running end, for at most `wait_s`."""
        self._closed = True
        self._fail(self._waiting, DrainingError("the verifier is shutting down. Resume at another one."))
        if self._runner is not None:
            runner = self._runner
            _, running = await asyncio.wait({runner}, timeout=wait_s)
            if running:
                runner.cancel()

    async def _run(self) -> None:
        try:
            while self._drop_abandoned():
                await self._gather()
                if pieces := self._select():
                    await self._forward(pieces)
        except Exception as error:
            logger.exception("the batcher failed")
            self._fail(self._waiting, InternalError(f"the batcher failed: {error!r}. Resume the session."))
        finally:
            self._runner = None

    def _drop_abandoned(self) -> bool:
        """Forget blocks that nobody waits for any more; whether any are left."""
        self._waiting = [item for item in self._waiting if not item.answered.done()]
        self._queued_rows = sum(item.remaining for item in self._waiting)
        return bool(self._waiting)

    async def _gather(self) -> None:
        """Wait a moment for blocks of sessions that are just about to send one: a forward for two costs hardly more than for one."""
        deadline = self._clock.now() + self._settings.batch_wait_s
        while not self._closed and sum(item.remaining for item in self._waiting if item.bulk <= 0) < self._settings.max_rows:
            now = self._clock.now()
            if now >= deadline or not self._rhythm.anyone_due(now, self._settings.batch_wait_s):
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(deadline - now):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _select(self) -> list[_Piece]:
        """Whole blocks first, in order of arrival; then prompt pieces in what room is left. One block per slot."""
        self._drop_abandoned()
        bulky = [item for item in self._waiting if item.bulk > 0]
        room = self._settings.max_rows - (PREFILL_FLOOR if bulky else 0)
        pieces: list[_Piece] = []
        taken: set[int] = set()
        for item in self._waiting:
            if item.bulk > 0 or item.block.slot in taken:
                continue
            if item.remaining > room:
                break
            room -= item.remaining
            taken.add(item.block.slot)
            pieces.append(_Piece(item, item.piece(item.remaining)))
        self._add_bulk(pieces, bulky, taken, room + (PREFILL_FLOOR if bulky else 0))
        return pieces

    def _add_bulk(self, pieces: list[_Piece], bulky: Sequence[_Item], taken: set[int], room: int) -> None:
        slots = {item.block.slot for item in bulky}
        alone = not pieces and len(slots) <= 1 and not self._rhythm.anyone_active(self._clock.now(), besides=slots)
        budget = room if alone else min(room, self._settings.prefill_rows)
        for item in bulky:
            if item.block.slot in taken or budget < 1:
                continue
            whole = item.remaining <= budget
            count = item.remaining if whole else min(item.bulk, budget)
            budget -= count
            taken.add(item.block.slot)
            pieces.append(_Piece(item, item.piece(count)))

    async def _forward(self, pieces: Sequence[_Piece]) -> None:
        """One forward. When it fails, every block is tried alone, so that one that cannot be computed takes no other with it."""
        blocks = [piece.block for piece in pieces]
        rows = sum(len(block.tokens) for block in blocks)
        work = Work("verify" if any(block.wanted for block in blocks) else "prefill", rows, len(blocks))
        started = self._clock.now()
        try:
            outcomes = await self._clock.compute(work, lambda: self._compute(pieces))
        except Exception as error:
            self.counts.failures += 1
            if len(pieces) > 1:
                logger.warning("a forward of %d blocks failed; trying each alone: %r", len(pieces), error)
                for piece in pieces:
                    if not piece.item.answered.done():
                        await self._forward([piece])
                return
            logger.exception("a forward failed")
            self._fail([pieces[0].item], _as_internal("the target's forward", error))
            return
        elapsed = self._clock.now() - started
        self._count(rows, len(blocks), elapsed)
        for piece, outcome in zip(pieces, outcomes, strict=True):
            self._settle(piece, outcome, _Cost(elapsed, elapsed * len(piece.block.tokens) / rows, len(blocks)))

    def _compute(self, pieces: Sequence[_Piece]) -> list[_Outcome]:
        """On the compute thread: the forward, and what is made of the rows while they are at hand."""
        rows = self._target.forward([piece.block for piece in pieces])
        return [_attempt(piece, its_rows) for piece, its_rows in zip(pieces, rows, strict=True)]

    def _settle(self, piece: _Piece, outcome: _Outcome, cost: _Cost) -> None:
        item = piece.item
        if item.answered.done():  # abandoned meanwhile; its slot may have another owner by now
            return
        is_last = piece.is_last
        item.fed += len(piece.block.tokens)
        self._queued_rows -= len(piece.block.tokens)
        item.computed_s += cost.forward_s
        try:
            item.progress(piece.block, cost.share_s)
        except AirdraftError as error:
            self._fail([item], error)
        if outcome.error is not None:
            self._fail([item], outcome.error)
        elif is_last and not item.answered.done():
            now = self._clock.now()
            self._rhythm.went(item.block.slot, now)
            queue_s = max(now - item.submitted_at - item.computed_s, 0.0)
            item.answered.set_result(Answer(outcome.result, queue_s, cost.forward_s, cost.batch))

    def _fail(self, items: Sequence[_Item], error: Exception) -> None:
        for item in items:
            if not item.answered.done():
                item.answered.set_exception(error)

    def _count(self, rows: int, sequences: int, elapsed: float) -> None:
        counts = self.counts
        counts.forwards += 1
        counts.rows += rows
        counts.sequences += sequences
        counts.compute_s += elapsed
        rate = rows / max(elapsed, 1e-6)
        self._rows_per_s = rate if self._rows_per_s is None else 0.8 * self._rows_per_s + 0.2 * rate


@dataclass(frozen=True, slots=True)
class _Cost:
    forward_s: float
    share_s: float
    batch: int


def _attempt(piece: _Piece, rows: Rows) -> _Outcome:
    if not piece.is_last:
        return _Outcome()
    try:
        return _Outcome(result=piece.item.then(rows))
    except Exception as error:
        return _Outcome(error=_as_internal("judging the rows", error))


def _as_internal(what: str, error: Exception) -> AirdraftError:
    """An error of airdraft's own keeps its class (a rule may refuse a draft); anything else is a fault inside."""
    if isinstance(error, AirdraftError):
        return error
    wrapped = InternalError(f"{what} failed: {error!r}. The session can be resumed; if it fails again, report it.")
    wrapped.__cause__ = error
    return wrapped
