"""The baseline schedule: the verifier decodes by itself and the device only shows what comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from edge.device_state import StreamMode
from edge.line import Line
from edge.seams import Drafter, StoppingRule, Token


class Stream:
    """Stream mode from here on. Asked to hand over, it ends stream mode and passes on what still comes until that has happened."""

    async def run(self, drafter: Drafter, stopping: StoppingRule, line: Line) -> AsyncGenerator[Token, None]:
        """Yields committed tokens; drafter and stopping rule stay idle. Raises what `Line.receive` raises."""
        await line.start(stream=True)
        while line.state.mode is not StreamMode.OFF and not line.finished:
            if line.handing_over and line.state.mode is StreamMode.ON:
                await line.stream(False)
            arrival = await line.receive()
            for token in arrival.tokens:
                yield token
