"""One device's conversations with a verifier: the file to read first.

`Session.generate` opens a line, lets a schedule draft and have its drafts judged, and yields the committed tokens as they come:
edge.schedules decides who works when, edge.drafting keeps the drafter in step with what is committed, edge.line talks to the verifier and
mends a broken link, edge.device_state says what each message means.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from airdraft import rules
from airdraft.clock import Clock, Work
from airdraft.errors import InternalError, LinkLostError
from airdraft.messages import Contract
from airdraft.transport import Transport
from edge.fallback import Alone
from edge.line import Line
from edge.link_meter import LinkMeter
from edge.seams import Drafter, Schedule, StoppingRule, Token
from edge.settings import DeviceSettings
from edge.statistics import ResponseStatistics


@dataclass
class Session:
    """Generates one response after another; the drafter keeps its context between them, so a longer conversation is cheap to continue.

    `meter` outlives the responses: what is known of the link is kept. `statistics` are those of the response at work, or of the last one.
    """

    drafter: Drafter
    stopping: StoppingRule
    schedule: Schedule
    transport: Transport
    clock: Clock
    settings: DeviceSettings = field(default_factory=DeviceSettings)
    meter: LinkMeter = field(default_factory=LinkMeter)
    statistics: ResponseStatistics = field(default_factory=ResponseStatistics)
    _line: Line | None = field(default=None, init=False)

    async def generate(self, contract: Contract) -> AsyncGenerator[Token, None]:
        """Yields the response's tokens. All are verified, unless the fallback is `alone` (then see edge.fallback on replaced tokens).

        Raises LinkLostError or CapacityError when the verifier stayed out of reach for as long as the settings allow, UnknownRuleError
        and the verifier's own errors at once. Closing the iterator hangs up; one response at a time.
        """
        if self._line is not None:
            raise InternalError("this session is at work on a response already; close that first, or use a session of its own")
        line = self._line = Line(self.transport, contract, self.clock, self.settings, self.meter)
        self.statistics = line.statistics
        try:
            rows_wanted = rules.traits(contract.rule.name).needs_rows
            await self.clock.compute(Work("draft", tokens=0), partial(self.drafter.begin, contract, rows_wanted))
            while not line.finished:
                async with aclosing(self._next_part(line)) as tokens:
                    async for token in tokens:
                        yield token
        finally:
            self._line = None
            await line.close()

    def switch(self, schedule: Schedule) -> None:
        """Let another schedule take over at the next round's boundary, or from the next response on when none is at work."""
        self.schedule = schedule
        if self._line is not None:
            self._line.handing_over = True

    async def _next_part(self, line: Line) -> AsyncGenerator[Token, None]:
        """Tokens until the response ends or a schedule hands over; alone while the link is gone, if the user chose that."""
        line.handing_over = False
        try:
            async with aclosing(self.schedule.run(self.drafter, self.stopping, line)) as tokens:
                async for token in tokens:
                    yield token
            return
        except LinkLostError:
            if self.settings.fallback.then != "alone":
                raise
        alone = Alone(self.settings.fallback.give_up_s)
        async with aclosing(alone.run(self.drafter, self.stopping, line)) as tokens:
            async for token in tokens:
                yield token
