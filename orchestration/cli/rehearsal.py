"""A short real session, watched: what a draft step, a forward and a round cost, and how often drafts are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from statistics import mean, median
from typing import TypeVar

from airdraft.clock import Clock, Work
from airdraft.messages import Description, DeviceMessage, Draft, Outcome, Streamed, Verdict, VerifierMessage
from airdraft.transport import MessageStream, Traffic, Transport
from edge.link_meter import LinkMeter
from edge.statistics import ResponseStatistics
from orchestration.assembly import Device

Result = TypeVar("Result")

PROMPTS = (
    "Write a Python function that returns the n-th Fibonacci number.",
    "Explain in two sentences why the sky is blue.",
    "List the days of the week, one per line.",
)
TOKENS = 24


@dataclass(slots=True)
class Notes:
    """Seconds of draft steps, and of forwards by how many rows they had; without the first of each stream, which holds the prompt."""

    steps_s: list[float] = field(default_factory=list)
    forwards_s: dict[int, list[float]] = field(default_factory=dict)


class WatchedClock(Clock):
    """A clock that notes how long draft steps take."""

    def __init__(self, clock: Clock, notes: Notes) -> None:
        self._clock = clock
        self._notes = notes

    def now(self) -> float:
        """As the clock says."""
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        """As the clock does."""
        await self._clock.sleep(seconds)

    async def compute(self, work: Work, run: Callable[[], Result]) -> Result:
        """Compute, and note a step that feeds no more than one or two tokens: more is a prompt."""
        started_s = self._clock.now()
        result = await self._clock.compute(work, run)
        if work.kind == "draft" and work.tokens in (1, 2) and result is not None:
            self._notes.steps_s.append(self._clock.now() - started_s)
        return result

    def close(self) -> None:
        """The clock is somebody else's."""


class WatchedTransport:
    """A transport that notes the verifier's own timings."""

    def __init__(self, transport: Transport, notes: Notes) -> None:
        self._transport = transport
        self._notes = notes

    async def open(self) -> MessageStream:
        """A stream that is watched."""
        return WatchedStream(await self._transport.open(), self._notes)

    async def describe(self) -> Description:
        """As the transport does."""
        return await self._transport.describe()

    async def close(self) -> None:
        """The transport is somebody else's."""


class WatchedStream:
    """One stream of a watched transport."""

    def __init__(self, stream: MessageStream, notes: Notes) -> None:
        self._stream = stream
        self._notes = notes
        self._rows: dict[int, int] = {}  # by round
        self._answers = 0

    @property
    def traffic(self) -> Traffic:
        """The stream's."""
        return self._stream.traffic

    @traffic.setter
    def traffic(self, traffic: Traffic) -> None:
        self._stream.traffic = traffic

    async def send(self, message: DeviceMessage) -> None:
        """Send, and remember how many rows the answer will have taken."""
        if isinstance(message, Draft):
            self._rows[message.round] = len(message.tokens) + 1
        await self._stream.send(message)

    async def receive(self) -> VerifierMessage | None:
        """Receive, and note the forward's time."""
        message = await self._stream.receive()
        if isinstance(message, Verdict) and message.outcome is Outcome.JUDGED:
            self._note(self._rows.get(message.round), message.timings.forward_s)
        elif isinstance(message, Streamed) and len(message.tokens) == 1:
            self._note(1, message.timings.forward_s)
        return message

    async def close(self) -> None:
        """Close."""
        await self._stream.close()

    def _note(self, rows: int | None, forward_s: float) -> None:
        self._answers += 1
        if rows is not None and self._answers > 1:
            self._notes.forwards_s.setdefault(rows, []).append(forward_s)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a rehearsal measured; None where it could not. Medians, in seconds."""

    draft_step_s: float | None
    round_trip_s: float | None  # of a round: all of it that is neither drafting nor the forward nor the queue
    one_row_s: float | None
    draft_rows: int
    several_rows_s: float | None  # a forward over `draft_rows` rows
    acceptance: float | None
    drafted_token_s: float | None
    streamed_token_s: float | None


async def rehearse(device: Device, prompts: Sequence[str] = PROMPTS, tokens: int = TOKENS) -> Findings:
    """Answer the prompts streamed, and drafted with the device's draft length if it drafts. Raises what sessions raise."""
    notes = Notes()
    meter = LinkMeter()
    watched = replace(device, clock=WatchedClock(device.clock, notes), transport=WatchedTransport(device.transport, notes), meter=meter)
    drafts = device.settings.draft_length > 0
    streamed = [await _answer(watched, prompt, tokens, "stream") for prompt in prompts]
    drafted = [await _answer(watched, prompt, tokens, "sequential") for prompt in prompts] if drafts else []
    rows = device.settings.draft_length + 1
    judged = sum(sum(each.judged_at) for each in drafted)
    return Findings(
        draft_step_s=_median(notes.steps_s),
        round_trip_s=meter.round_trip_s,
        one_row_s=_median(notes.forwards_s.get(1, [])),
        draft_rows=rows,
        several_rows_s=_median(notes.forwards_s.get(rows, [])) if drafts else None,
        acceptance=sum(sum(each.accepted_at) for each in drafted) / judged if judged else None,
        drafted_token_s=_token_s(drafted),
        streamed_token_s=_token_s(streamed),
    )


async def _answer(device: Device, prompt: str, tokens: int, schedule: str) -> ResponseStatistics:
    session = device.session(schedule=schedule)
    contract = device.contract(_prompt(device, prompt), max_new_tokens=tokens)
    async with aclosing(session.generate(contract)) as response:
        async for _ in response:
            pass
    return session.statistics


def _prompt(device: Device, text: str) -> tuple[int, ...]:
    has_template = bool(getattr(device.language.tokenizer, "chat_template", None))
    return device.language.prompt(text, raw=not has_template)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _token_s(responses: Sequence[ResponseStatistics]) -> float | None:
    values = [each.time_per_output_token_s for each in responses if each.tokens > 1]
    return mean(values) if values else None
