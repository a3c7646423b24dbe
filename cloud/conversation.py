"""One stream from its first message to its end: reads ahead, does what each message asks in order, and sends the answers.

It decides when things happen; what happens to a session is in `cloud.session_state`, how it is computed in `cloud.rounds`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

from airdraft.errors import AirdraftError, DeadlineError, InternalError, MalformedMessageError, UnavailableError
from airdraft.messages import DeviceMessage, Draft, Finish, Open, Opened, Resume, Stream, VerifierMessage
from cloud import session_state
from cloud.counts import VerifierCounts
from cloud.pipe import Pipe
from cloud.rounds import NOTHING, Proposal, Rounds, Turn
from cloud.session_state import Judge, Replay, Stale
from cloud.sessions import Session, SessionTable
from cloud.settings import VerifierSettings
from cloud.slots import SlotTable

logger = logging.getLogger(__name__)

INBOX = 8  # messages read ahead; after that the link's own flow control holds the device back
OUTBOX = 16  # answers not yet taken by the link
STREAM_TURN = 32  # tokens that a stream decodes before it lets others have its slot: rebuilding one costs far more than a token


@dataclass(frozen=True, slots=True)
class Parts:
    """What all streams of a verifier share."""

    settings: VerifierSettings
    sessions: SessionTable
    slots: SlotTable
    rounds: Rounds
    counts: VerifierCounts
    draft_limit: Callable[[], int]
    streams: dict[Conversation, None]  # those that run, in the order of coming


class Conversation:
    """A stream. `begin` turns its first message into a session that is attached to it, and the answer to that message."""

    def __init__(self, parts: Parts, begin: Callable[[DeviceMessage, Conversation], tuple[Session, Opened]]) -> None:
        self._parts = parts
        self._begin = begin
        self._inbox: Pipe[DeviceMessage] = Pipe(INBOX)
        self._outbox: Pipe[VerifierMessage] = Pipe(OUTBOX)
        self._tasks: list[asyncio.Task[None]] = []
        self._prefill: asyncio.Task[None] | None = None
        self._session: Session | None = None

    async def answers(self, incoming: AsyncIterator[DeviceMessage]) -> AsyncGenerator[VerifierMessage, None]:
        """The messages to send. Ends in good order, or with the error that ended the stream; closing it early is a cut."""
        self._tasks = [asyncio.create_task(self._read(incoming)), asyncio.create_task(self._work())]
        self._parts.streams[self] = None
        try:
            while (message := await self._outbox.get()) is not None:
                yield message
        except AirdraftError as error:
            self._parts.counts.errors[error.code] += 1
            raise
        finally:
            self._parts.streams.pop(self, None)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def end(self, error: AirdraftError) -> None:
        """End the stream with this error after what was sent; nothing more is computed or committed on it."""
        self._outbox.close(error)
        for task in self._tasks:
            task.cancel()

    async def _read(self, incoming: AsyncIterator[DeviceMessage]) -> None:
        failure: AirdraftError | None = None
        try:
            async for message in incoming:
                await self._inbox.put(message)
        except AirdraftError as error:
            failure = error
        except Exception as error:
            failure = UnavailableError(f"the connection broke: {error!r}. Resume the session.")
        finally:
            self._inbox.close(failure)

    async def _work(self) -> None:
        failure: AirdraftError | None = None
        try:
            await self._serve()
        except AirdraftError as error:
            failure = error
        except Exception as error:
            logger.exception("a stream failed")
            failure = InternalError(f"the verifier failed on this stream: {error!r}. The session can be resumed.")
        finally:
            self._leave()
            self._outbox.close(failure)

    async def _serve(self) -> None:
        first = await self._next()
        if first is None:
            return
        session, answer = self._begin(first, self)
        self._session = session
        await self._send(answer)
        if isinstance(first, Open | Resume) and first.stream:
            session.state = session_state.start_streaming(session.state)
        elif not session.finished:
            self._prefill = asyncio.create_task(self._parts.rounds.prefill(session))
            self._prefill.add_done_callback(_retrieve)
        while not session.finished:
            if session.state.streaming:
                await self._stream(session)
                continue
            message = await self._next()
            if message is None:
                return
            await self._handle(session, message)

    async def _handle(self, session: Session, message: DeviceMessage) -> None:
        match message:
            case Draft():
                await self._draft(session, message)
            case Stream() if message.epoch != session.state.epoch:
                pass  # meant for a stream that this one has replaced
            case Stream(on=True):
                session.state = session_state.start_streaming(session.state)
            case Stream():
                session.state, last = session_state.stop_streaming(session.state, self._parts.draft_limit(), session.timings())
                await self._send(last)
            case _:
                raise MalformedMessageError(f"{type(message).__name__} on a stream that has a session; expected Draft or Stream.")

    async def _draft(self, session: Session, draft: Draft) -> None:
        match session_state.classify(session.state, draft):
            case Replay(verdict):
                self._parts.counts.replays += 1
            case Stale(verdict):
                session.state = session_state.record(session.state, verdict)
                self._parts.counts.judged(verdict, 0)
            case Judge(tokens):
                rows = draft.rows[: len(tokens)] if session.state.terms.row_width else ()
                await self._prefilled()
                with await self._parts.rounds.turn(session) as turn:
                    judged = await turn.judge(Proposal(tokens, draft.channel, rows))
                session.state, verdict = session_state.commit_judgement(
                    session.state, draft, judged.judgement, self._parts.draft_limit(), judged.timings
                )
                self._parts.counts.judged(verdict, len(draft.tokens))
                self._note_finish(session.state.finish)
        await self._send(verdict)

    async def _stream(self, session: Session) -> None:
        """Decode until the response ends or the device wants it otherwise, a turn at a time."""
        await self._prefilled()
        while session.state.streaming:
            await self._until_room()
            with await self._parts.rounds.turn(session) as turn:
                await self._stream_turn(session, turn)

    async def _stream_turn(self, session: Session, turn: Turn) -> None:
        """Never waits for the device, since it keeps a slot from others."""
        for _ in range(STREAM_TURN):
            while session.state.streaming and not self._outbox.full and (message := self._inbox.poll()) is not None:
                await self._handle(session, message)
            if self._outbox.full or not session.state.streaming:
                return
            judged = await turn.judge(NOTHING)
            session.state, streamed = session_state.commit_streamed(
                session.state, judged.judgement.token, self._parts.draft_limit(), judged.timings
            )
            self._parts.counts.decoded(streamed)
            self._note_finish(session.state.finish)
            self._outbox.push(streamed)

    async def _prefilled(self) -> None:
        if self._prefill is not None:
            prefill, self._prefill = self._prefill, None
            await prefill

    async def _next(self) -> DeviceMessage | None:
        idle_s = self._parts.settings.idle_s
        try:
            async with asyncio.timeout(idle_s):
                return await self._inbox.get()
        except TimeoutError:
            raise DeadlineError(
                f"nothing came from the device for {idle_s:g} s. Resume the session when it has something to say."
            ) from None

    async def _send(self, message: VerifierMessage) -> None:
        await self._until_room()
        self._outbox.push(message)

    async def _until_room(self) -> None:
        if not self._outbox.full:
            return
        idle_s = self._parts.settings.idle_s
        try:
            async with asyncio.timeout(idle_s):
                await self._outbox.room()
        except TimeoutError:
            raise DeadlineError(f"the device took no answer for {idle_s:g} s. Resume the session when it can.") from None

    def _note_finish(self, finish: Finish) -> None:
        if finish:
            self._parts.counts.finished += 1

    def _leave(self) -> None:
        """Give back what the stream holds; a newer stream of the same session keeps its own."""
        if self._prefill is not None:
            self._prefill.cancel()
        session = self._session
        if session is None or not self._parts.sessions.detach(session, self):
            return
        if session.finished:
            self._parts.slots.forget(session.id)
        else:
            self._parts.slots.depart(session.id)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at a task's exception, which nobody may come to await, so that it is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
