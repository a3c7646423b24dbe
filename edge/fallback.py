"""What happens while the link is gone, when the user chose to go on alone.

A token drafted alone is yielded with `verified=False`. Once the link is back, what was drafted is sent as drafts, and committed tokens
are yielded as always. A verified token takes the place of an unverified one at its position: with the same id it confirms it; with
another it replaces it *and everything after it*. (`wait` and `stop` need nothing of this: the line itself waits, or gives up.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from airdraft.errors import LinkLostError
from edge.drafting import Drafting
from edge.line import Arrival, Line
from edge.seams import Drafter, Origin, StoppingRule, Token


class Alone:
    """A schedule for a line that is lost: drafts on until it is back, has that verified, and then hands over."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s

    async def run(self, drafter: Drafter, stopping: StoppingRule, line: Line) -> AsyncGenerator[Token, None]:
        """Yields unverified tokens, then verified ones. Raises LinkLostError when the line stayed lost for `give_up_s`."""
        drafting = Drafting(drafter, stopping, line)
        while True:
            back = asyncio.create_task(line.restore(self._give_up_s))
            try:
                async for token in _draft_until(back, drafting, line):
                    yield token
                arrival = await back
            finally:
                back.cancel()
            try:
                async for token in _verify(arrival, drafting, line):
                    yield token
                return
            except LinkLostError:
                continue  # lost again: what is not verified yet still stands, and drafting goes on after it


async def _draft_until(back: asyncio.Task[Arrival], drafting: Drafting, line: Line) -> AsyncGenerator[Token, None]:
    while not back.done():
        step = await drafting.step()
        if step is None:
            await asyncio.wait({back})
            return
        line.statistics.origins[Origin.ALONE] += 1
        yield Token(step.token, step.position, Origin.ALONE, verified=False)


async def _verify(arrival: Arrival, drafting: Drafting, line: Line) -> AsyncGenerator[Token, None]:
    """Tokens committed meanwhile, then those that come of sending the steps drafted alone, until none of these is left."""
    while True:
        drafting.settle(arrival)
        for token in arrival.tokens:
            yield token
        if line.finished or not drafting.steps:
            return
        if not line.state.drafts:
            await line.send_draft(tuple(drafting.steps[: line.state.draft_limit]))
        arrival = await line.receive()
