"""The plain schedule: draft, send, wait for the verdict, repeat. Nothing is drafted while a verdict is on its way."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from edge.drafting import Drafting
from edge.line import Line
from edge.seams import Drafter, StoppingRule, Token


class Sequential:
    """One draft in flight at a time. The first is drafted while Open travels, and sent right behind it."""

    async def run(self, drafter: Drafter, stopping: StoppingRule, line: Line) -> AsyncGenerator[Token, None]:
        """Yields committed tokens. Raises what `Line.receive` raises; the drafter may then be ahead of the committed text."""
        await line.start()
        drafting = Drafting(drafter, stopping, line)
        while not line.over:
            await line.send_draft(await drafting.draft())
            while line.state.drafts and not line.finished:
                arrival = await line.receive()
                drafting.settle(arrival)
                for token in arrival.tokens:
                    yield token
