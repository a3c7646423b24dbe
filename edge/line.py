"""The line to the verifier: sends and receives around `device_state`, mends itself when it breaks, and keeps count.

It knows when to try again and when to give up; what to draft, and what to do without a verifier, others decide.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from airdraft.clock import Clock
from airdraft.errors import (
    AirdraftError,
    CapacityError,
    DeadlineError,
    DraftTooLongError,
    LinkLostError,
    UnavailableError,
    UnknownSessionError,
)
from airdraft.journal import RoundRecord
from airdraft.messages import (
    ChannelState,
    Contract,
    DeviceMessage,
    Draft,
    Finish,
    Opened,
    Outcome,
    Streamed,
    Timings,
    Verdict,
    VerifierMessage,
)
from airdraft.transport import MessageStream, Traffic, Transport
from edge import device_state
from edge.device_state import DeviceState, StreamMode
from edge.link_meter import Exchange, LinkMeter
from edge.seams import DraftStep, Token
from edge.settings import DeviceSettings
from edge.statistics import ResponseStatistics

CLOSE_DEADLINE_S = 2.0
LAST_WORDS_S = 0.5  # how long a stream that no longer sends is listened to


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one `receive` brought."""

    tokens: tuple[Token, ...] = ()  # newly committed
    draft: Draft | None = None  # the draft that was judged, if one was
    accepted: int = 0  # how many of its tokens
    restarted: bool = False  # the line was cut and mended: every draft in flight is gone, `tokens` is what was committed meanwhile


@dataclass(frozen=True, slots=True)
class _Sent:
    """When an expected answer was asked for, and with how many bytes."""

    at_s: float
    bytes_up: int
    draft_s: float = 0.0  # what the device had spent drafting since it sent a draft before


@dataclass(frozen=True, slots=True)
class _Received:
    """The message just read: what it answers (None when nothing asked for it), when it came, and its bytes."""

    sent: _Sent | None = None
    at_s: float = 0.0
    bytes_down: int = 0


class Line:
    """One response's line to its verifier. After `start`, alternate `send_draft` (or nothing, in stream mode) and `receive`."""

    def __init__(self, transport: Transport, contract: Contract, clock: Clock, settings: DeviceSettings, meter: LinkMeter) -> None:
        self.contract = contract
        self.clock = clock
        self.state: DeviceState = device_state.begin(contract, settings.link.first_draft_limit)
        self.statistics = ResponseStatistics(started_s=clock.now())
        self.handing_over = False
        self._transport = transport
        self._settings = settings
        self._meter = meter
        self._random = random.Random(settings.link.seed)
        self._stream: MessageStream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._fault: AirdraftError | None = None  # what broke the stream while sending; the next `receive` mends it
        self._finished_traffic = Traffic()
        self._sent: dict[int, _Sent] = {}  # by round; round 0 is the opening
        self._received = _Received()
        self._told_draft_s = 0.0  # drafting time up to the draft sent last
        self._timed = False  # whether verdicts on this stream tell the round trip: the first one's time includes the prefill

    @property
    def finished(self) -> bool:
        """Whether the response has ended."""
        return self.state.finish is not Finish.NO

    @property
    def over(self) -> bool:
        """Whether the schedule at work should end at this round's boundary: the response has ended, or another schedule takes over."""
        return self.finished or self.handing_over

    @property
    def channel(self) -> ChannelState:
        """What is known of the link now."""
        return self._meter.state()

    async def start(self, stream: bool = False) -> None:
        """Send Open without waiting for its answer. On a line already open: turn stream mode on if asked for and off."""
        if self._connecting is None:
            self.state, message = device_state.opening(self.state, stream)
            self._connecting = asyncio.create_task(self._connect(message))
        elif stream and self.state.mode is StreamMode.OFF:
            await self.stream(True)

    async def send_draft(self, steps: Sequence[DraftStep], assumed: Sequence[int] = ()) -> None:
        """Send these steps as a draft (see `device_state.next_draft`). `receive` mends what breaks here, and says so."""
        known = self.channel
        self.state, draft = device_state.next_draft(self.state, steps, None if known == ChannelState() else known, assumed)
        await self._send(draft, draft.round)

    async def stream(self, on: bool) -> None:
        """Turn stream mode on, or ask for its end: then receive until `state.mode` is OFF."""
        self.state, message = device_state.switch_stream(self.state, on)
        await self._send(message, None)

    async def receive(self) -> Arrival:
        """What the verifier sends next, once it changes something; reconnects and resumes on the way when it has to.

        Raises LinkLostError when nothing came within the patience that the settings give, CapacityError when the verifier stayed full
        for as long, and at once every error that trying again cannot mend. After LinkLostError `restore` may be called.
        """
        until = self.clock.now() + self._settings.patience_s
        try:
            return await self._next_arrival(until)
        except AirdraftError as fault:
            return await self._mend(fault, until, self.state.mode is StreamMode.ON)

    async def restore(self, patience_s: float) -> Arrival:
        """After LinkLostError: keep trying for so long to resume, out of stream mode. Raises as `receive`."""
        return await self._mend(UnavailableError("the link was lost"), self.clock.now() + patience_s, stream=False)

    async def close(self) -> None:
        """Hang up. The session stays at the verifier until its lease ends."""
        await self._hang_up()

    async def _next_arrival(self, until: float) -> Arrival:
        await self._connected(until)
        while True:
            try:
                message = await self._read(self._longest_silence_s(until))
            except (UnavailableError, DeadlineError) as error:
                raise self._fault or error from None
            arrival = self._take_in(message)
            if arrival is not None:
                return arrival

    def _longest_silence_s(self, until: float) -> float:
        """How long to wait for the next message; only a moment when sending has failed already: for what came before, or the reason."""
        longest = self._settings.link.receive_deadline_s if self._fault is None else LAST_WORDS_S
        return min(longest, until - self.clock.now())

    # --- mending

    async def _mend(self, fault: AirdraftError, until: float, stream: bool) -> Arrival:
        attempt = 0
        while True:
            await self._hang_up()
            self._check_mendable(fault)
            pause = self._pause(fault, attempt)
            if self.clock.now() + pause >= until:
                raise self._giving_up(fault, attempt) from fault
            await self.clock.sleep(pause)
            attempt += 1
            try:
                return await self._reopen(until, stream)
            except AirdraftError as next_fault:
                fault = next_fault

    def _check_mendable(self, fault: AirdraftError) -> None:
        """Raise what trying again cannot mend; forget the session when the verifier has."""
        if isinstance(fault, UnknownSessionError) and self.state.key is not None:
            self.state = device_state.forget_session(self.state)
        elif isinstance(fault, DraftTooLongError) and self._sent_unasked():
            pass  # sent before any limit was granted: Opened states the limit, and the session lives on
        elif not isinstance(fault, UnavailableError | DeadlineError | CapacityError):
            raise fault

    def _sent_unasked(self) -> bool:
        """Whether the only draft ever sent went out behind Open, before a limit was known."""
        return self.state.next_round == 2 and len(self.state.drafts) == 1 and self.statistics.reconnects == 0

    def _pause(self, fault: AirdraftError, attempt: int) -> float:
        """Seconds before the next attempt: full jitter under a doubling bound; what a full verifier asks for, with jitter on top."""
        link = self._settings.link
        if isinstance(fault, UnknownSessionError):
            return 0.0
        bound = min(link.back_off_most_s, link.back_off_first_s * 2.0 ** min(attempt, 32))
        asked_s = min(fault.retry_after_s or 0.0, link.retry_after_most_s)
        return asked_s + self._random.uniform(0.0, bound)

    def _giving_up(self, fault: AirdraftError, attempts: int) -> AirdraftError:
        if isinstance(fault, CapacityError):
            return CapacityError(f"the verifier stayed full: {fault.message}", retry_after_s=fault.retry_after_s)
        return LinkLostError(
            f"no answer from the verifier in time ({attempts} attempts to reconnect; last: {fault.message}). "
            f"{self.state.generated} tokens are committed. Check the link and the server, or raise the fallback's deadline."
        )

    async def _reopen(self, until: float, stream: bool) -> Arrival:
        """One attempt: open a stream, say Resume or Open, and wait for Opened."""
        self.state, opening = device_state.opening(self.state, stream)
        self._connecting = asyncio.create_task(self._connect(opening))
        await self._connected(until)
        tokens: tuple[Token, ...] = ()
        while self.state.awaiting_opened:
            message = await self._read(min(self._settings.link.connect_deadline_s, until - self.clock.now()))
            arrival = self._take_in(message)
            tokens += arrival.tokens if arrival else ()
        self.statistics.reconnects += 1
        return Arrival(tokens, restarted=True)

    # --- the stream

    async def _connect(self, message: DeviceMessage) -> None:
        async with _deadline(self._settings.link.connect_deadline_s, "opening a stream"):
            self._stream = await self._transport.open()
            before = self._stream.traffic.bytes_up
            await self._stream.send(message)
        self._timed = False
        self._sent = {0: _Sent(self.clock.now(), self._stream.traffic.bytes_up - before)}

    async def _connected(self, until: float) -> None:
        if self._connecting is None:
            raise UnavailableError("the line was not started, or has been lost; start or restore it first")
        async with _deadline(until - self.clock.now(), "opening a stream"):
            await asyncio.shield(self._connecting)

    async def _send(self, message: DeviceMessage, round_number: int | None) -> None:
        """Send; a failure is kept for `receive`, where lines are mended."""
        try:
            await self._connected(self.clock.now() + self._settings.patience_s)
            if self._stream is None or self._fault is not None:
                return
            before = self._stream.traffic.bytes_up
            async with _deadline(self._settings.link.receive_deadline_s, "sending"):
                await self._stream.send(message)
            if round_number is not None:
                drafted_s, self._told_draft_s = self.statistics.draft_s - self._told_draft_s, self.statistics.draft_s
                self._sent[round_number] = _Sent(self.clock.now(), self._stream.traffic.bytes_up - before, drafted_s)
        except AirdraftError as fault:
            self._fault = fault
        self._count_traffic()

    async def _read(self, seconds: float) -> VerifierMessage:
        if self._stream is None:
            raise UnavailableError("the stream to the verifier is gone")
        before = self._stream.traffic.bytes_down
        async with _deadline(max(seconds, 0.0), "waiting for the verifier"):
            message = await self._stream.receive()
        self._count_traffic()
        if message is None:
            raise UnavailableError("the verifier ended the stream before the response was finished")
        self._measure(message, self._stream.traffic.bytes_down - before)
        return message

    async def _hang_up(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait({connecting}, timeout=CLOSE_DEADLINE_S)
            if connecting.done() and not connecting.cancelled():
                connecting.exception()  # looked at, so that asyncio does not report it as forgotten
        stream, self._stream = self._stream, None
        self._fault = None
        if stream is None:
            return
        with suppress(AirdraftError):  # a stream that cannot even be closed is gone all the same
            async with _deadline(CLOSE_DEADLINE_S, "closing a stream"):
                await stream.close()
        self._finished_traffic = _sum(self._finished_traffic, stream.traffic)
        self._count_traffic()

    # --- taking in

    def _take_in(self, message: VerifierMessage) -> Arrival | None:
        """Apply a message; None when it changed nothing that anybody waits for."""
        before = self.state
        self.state, tokens = device_state.apply(before, message)
        if self.state is before:
            return None
        self.statistics.arrived(tokens, self.clock.now())
        self.statistics.finish = self.state.finish
        self._record(before, message, tokens)
        if isinstance(message, Verdict | Streamed):
            self.statistics.spent(message.timings)
        if isinstance(message, Verdict):
            return self._judged(before, message, tokens)
        if isinstance(message, Opened):
            self.statistics.lost += len(before.drafts) - len(self.state.drafts)
            return Arrival(tokens) if tokens or self.finished else None
        return Arrival(tokens)

    def _judged(self, before: DeviceState, message: Verdict, tokens: tuple[Token, ...]) -> Arrival:
        draft = next(draft for draft in before.drafts if draft.round == message.round)
        if message.outcome is Outcome.STALE:
            self.statistics.stale += 1
            return Arrival(tokens)
        self.statistics.judged(draft, message)
        return Arrival(tokens, draft, message.accepted)

    def _record(self, before: DeviceState, message: VerifierMessage, tokens: tuple[Token, ...]) -> None:
        """A line in the run's journal."""
        sent, draft = self._received.sent, None
        if isinstance(message, Verdict):
            draft = next(draft for draft in before.drafts if draft.round == message.round)
        record = RoundRecord(
            kind="draft" if draft else "stream" if isinstance(message, Streamed) else "open",
            round=draft.round if draft else 0,
            epoch=message.epoch,
            position=draft.position if draft else len(before.committed),
            sent_s=sent.at_s if sent else None,
            arrived_s=self._received.at_s,
            draft_s=sent.draft_s if sent else 0.0,
            drafted=draft.tokens if draft else (),
            accepted=message.accepted if isinstance(message, Verdict) else 0,
            tokens=tuple(token.id for token in tokens),
            outcome=message.outcome if isinstance(message, Verdict) else Outcome.JUDGED,
            bytes_up=sent.bytes_up if sent else 0,
            bytes_down=self._received.bytes_down,
            channel=draft.channel if draft else None,
            timings=Timings() if isinstance(message, Opened) else message.timings,
        )
        self.statistics.records.append(record)

    def _measure(self, message: VerifierMessage, bytes_down: int) -> None:
        """Note what the message answers, and tell the meter about an exchange whose time on the link is known."""
        asked = None if isinstance(message, Streamed) else message.round if isinstance(message, Verdict) else 0
        sent = None if asked is None else self._sent.pop(asked, None)
        self._received = _Received(sent, self.clock.now(), bytes_down)
        if sent is None:
            return
        elapsed_s = self._received.at_s - sent.at_s
        if isinstance(message, Opened):
            self._meter.observe(Exchange(elapsed_s, 0.0, sent.bytes_up, bytes_down))
        elif self._timed:
            spent_s = message.timings.queue_s + message.timings.forward_s
            self._meter.observe(Exchange(elapsed_s, spent_s, sent.bytes_up, bytes_down))
        self._timed = isinstance(message, Verdict)

    def _count_traffic(self) -> None:
        current = self._stream.traffic if self._stream is not None else Traffic()
        self.statistics.traffic = _sum(self._finished_traffic, current)


@asynccontextmanager
async def _deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Raises DeadlineError when the body takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise DeadlineError(f"{what} took longer than {seconds:.1f} s") from error


def _sum(first: Traffic, second: Traffic) -> Traffic:
    return Traffic(
        first.bytes_up + second.bytes_up,
        first.bytes_down + second.bytes_down,
        first.messages_up + second.messages_up,
        first.messages_down + second.messages_down,
    )
