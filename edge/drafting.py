"""The drafter's work on one response: steps drafted beyond the committed text, grown one by one, settled by what is committed.

It knows the drafter's context and the committed text, and keeps the one a continuation of the other; sending is the schedule's part.
"""

from __future__ import annotations

from collections.abc import Callable

from airdraft.clock import Work
from edge.line import Arrival, Line
from edge.seams import Drafter, DraftStep, StoppingRule


class Drafting:
    """`steps` stand at the positions after the committed text. Whatever was left in the drafter by earlier work is rolled back first."""

    def __init__(self, drafter: Drafter, stopping: StoppingRule, line: Line) -> None:
        self.steps: list[DraftStep] = []
        self._drafter = drafter
        self._stopping = stopping
        self._line = line
        self._synchronise()

    async def draft(self) -> tuple[DraftStep, ...]:
        """The next draft: what is left of earlier steps, and more while the stopping rule goes on; never more than was granted."""
        channel, limit = self._line.channel, self._line.state.draft_limit
        await self._grow(lambda: len(self.steps) < limit and self._stopping.go_on(self.steps, channel))
        return tuple(self.steps[:limit])

    async def step(self) -> DraftStep | None:
        """One more token; None after a stop token, when only the target's own token is missing to the end, or with nothing to propose."""
        before = len(self.steps)
        await self._grow(lambda: len(self.steps) == before)
        return self.steps[before] if len(self.steps) > before else None

    async def _grow(self, wanted: Callable[[], bool]) -> None:
        """Steps for as long as they are wanted and there are any, in one go on the compute clock."""
        clock, statistics = self._line.clock, self._line.statistics
        proposed = True

        def upcoming() -> Work | None:
            return Work("draft", tokens=self._drafter.pending) if proposed and not self._complete() and wanted() else None

        def take_step() -> DraftStep | None:
            nonlocal proposed
            step = self._drafter.step()
            proposed = step is not None
            if step is not None:
                self.steps.append(step)
            return step

        before, started_s = len(self.steps), clock.now()
        await clock.compute_each(upcoming, take_step)
        statistics.draft_s += clock.now() - started_s
        statistics.draft_steps += len(self.steps) - before

    def settle(self, arrival: Arrival) -> None:
        """Keep the steps that the committed tokens confirm, roll the drafter back behind them, and let the stopping rule learn."""
        if arrival.draft is not None:
            self._stopping.learn(self.steps[: len(arrival.draft.tokens)], arrival.accepted)
        tokens = [token.id for token in arrival.tokens]
        agreed = 0
        while agreed < min(len(tokens), len(self.steps)) and tokens[agreed] == self.steps[agreed].token:
            agreed += 1
        if agreed == len(tokens):
            del self.steps[:agreed]
            return
        first = len(self._line.state.committed) - len(tokens)
        if agreed < len(self.steps):
            self._drafter.roll_back(first + agreed)
        self._drafter.extend(tokens[agreed:])
        self.steps.clear()

    def _complete(self) -> bool:
        contract, state = self._line.contract, self._line.state
        if self.steps and self.steps[-1].token in contract.stop_tokens:
            return True
        return state.generated + len(self.steps) >= contract.max_new_tokens - 1

    def _synchronise(self) -> None:
        committed = self._line.state.committed
        if self._drafter.length > len(committed):
            self._drafter.roll_back(len(committed))
        self._drafter.extend(committed.tokens(self._drafter.length))
