"""A small world for the device's tests: virtual time, a reference verifier of one page, drafters that know the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airdraft import PROTOCOL_VERSION
from airdraft.clock import Clock, Work
from airdraft.errors import AirdraftError, DraftTooLongError, UnavailableError, UnknownSessionError
from airdraft.in_process import Direction, InProcessTransport
from airdraft.messages import (
    Contract,
    Description,
    DeviceMessage,
    Draft,
    Finish,
    Load,
    Open,
    Opened,
    Outcome,
    Resume,
    Stream,
    Streamed,
    Timings,
    Verdict,
    VerifierMessage,
)
from airdraft.prefix import Prefix
from airdraft.transport import MessageStream
from edge.seams import DraftStep
from tests.virtual_time import VirtualLoop

Result = TypeVar("Result")
VOCABULARY = 50


def contract(prompt: Sequence[int] = (1, 2, 3), max_new_tokens: int = 40, **others: Any) -> Contract:
    return Contract(PROTOCOL_VERSION, "", b"tokenizer", VOCABULARY, tuple(prompt), max_new_tokens=max_new_tokens, **others)


def true_token(prefix: Prefix) -> int:
    """The target's token after a prefix: a pure function of it, as the protocol demands."""
    return prefix.digest() % VOCABULARY


def truth(terms: Contract) -> tuple[int, ...]:
    """The whole response."""
    prefix = Prefix(terms.prompt)
    for _ in range(terms.max_new_tokens):
        prefix.append([true_token(prefix)])
        if prefix[-1] in terms.stop_tokens:
            break
    return prefix.tokens(len(terms.prompt))


# --- virtual time


def virtually(main: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end on a loop whose time costs nothing."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


@dataclass
class VirtualClock(Clock):
    seconds_per_step: float = 0.01
    steps: int = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def compute(self, work: Work, run: Callable[[], Result]) -> Result:
        await asyncio.sleep(self.seconds_per_step * (work.tokens > 0))
        self.steps += 1
        return run()

    def close(self) -> None: ...


# --- the verifier


@dataclass
class _Session:
    contract: Contract
    committed: Prefix
    epoch: int
    streaming: bool = False
    finish: Finish = Finish.NO
    verdicts: dict[int, Verdict] = field(default_factory=dict)


class ReferenceVerifier:
    """Every message's effect and answer, with the target replaced by `true_token`. No streams, no time."""

    def __init__(self, draft_limit: int = 8, granted_at_first: int | None = None) -> None:
        self.sessions: dict[str, _Session] = {}
        self.draft_limit = draft_limit
        self.granted = draft_limit if granted_at_first is None else granted_at_first
        self.opens = 0
        self.resumes = 0
        self.drafts: list[Draft] = []
        self.switches: list[bool] = []

    def restart(self) -> None:
        self.sessions.clear()

    def greet(self, message: DeviceMessage) -> tuple[str, Opened]:
        if isinstance(message, Open):
            return self._open(message)
        if not isinstance(message, Resume):
            raise UnknownSessionError("a stream starts with Open or Resume")
        session = self.sessions.get(message.session_id)
        if session is None or message.resume_token != _key(message.session_id):
            raise UnknownSessionError(f"no session {message.session_id}")
        assert session.committed.digest(message.committed_length) == message.digest
        self.resumes += 1
        session.epoch = max(session.epoch, message.epoch) + 1
        session.verdicts.clear()
        session.streaming = message.stream and not session.finish
        return message.session_id, self._opened(message.session_id, message.committed_length)

    def _open(self, message: Open) -> tuple[str, Opened]:
        self.opens += 1
        name = f"s{self.opens}"
        session = _Session(message.contract, Prefix(message.contract.prompt), message.epoch, message.stream)
        for token in message.committed:
            assert true_token(session.committed) == token, "the device claims a token that was never committed"
            self._commit(session, token)
        session.streaming = message.stream and not session.finish
        self.sessions[name] = session
        return name, self._opened(name, len(session.committed))

    def _opened(self, name: str, known: int) -> Opened:
        session = self.sessions[name]
        length, digest = len(session.committed), session.committed.digest()
        return Opened(name, _key(name), session.epoch, self.granted, length, digest, session.committed.tokens(known), session.finish)

    def answer(self, name: str, message: DeviceMessage) -> list[VerifierMessage]:
        session = self.sessions[name]
        if isinstance(message, Draft):
            self.drafts.append(message)
            return [self._judge(session, message)]
        if isinstance(message, Stream) and message.epoch == session.epoch:
            self.switches.append(message.on)
            was, session.streaming = session.streaming, message.on and not session.finish
            return [self._streamed(session, (), last=True)] if was and not message.on else []
        return []

    def decode(self, name: str) -> Streamed | None:
        """One token of stream mode, if that is on."""
        session = self.sessions[name]
        if not session.streaming:
            return None
        token = self._commit(session, true_token(session.committed))
        session.streaming = not session.finish
        return self._streamed(session, (token,), last=not session.streaming)

    def _judge(self, session: _Session, draft: Draft) -> Verdict:
        if draft.epoch == session.epoch and draft.round in session.verdicts:
            return session.verdicts[draft.round]
        current = draft.position == len(session.committed) and draft.digest == session.committed.digest()
        if draft.epoch != session.epoch or not current or session.streaming or session.finish:
            return self._verdict(session, draft, Outcome.STALE, 0, None)
        if len(draft.tokens) > max(self.draft_limit, self.granted):
            raise DraftTooLongError(f"{len(draft.tokens)} tokens")
        accepted = 0
        while not session.finish and accepted < len(draft.tokens) and draft.tokens[accepted] == true_token(session.committed):
            self._commit(session, draft.tokens[accepted])
            accepted += 1
        token = None if session.finish else self._commit(session, true_token(session.committed))
        session.verdicts[draft.round] = self._verdict(session, draft, Outcome.JUDGED, accepted, token)
        return session.verdicts[draft.round]

    def _verdict(self, session: _Session, draft: Draft, outcome: Outcome, accepted: int, token: int | None) -> Verdict:
        length, digest = len(session.committed), session.committed.digest()
        timings = Timings(0.001, 0.02, 0.015, 2)
        return Verdict(draft.epoch, draft.round, outcome, accepted, token, length, digest, self.draft_limit, session.finish, timings)

    def _streamed(self, session: _Session, tokens: tuple[int, ...], last: bool) -> Streamed:
        length, digest = len(session.committed), session.committed.digest()
        timings = Timings(0.001, 0.02, 0.015, 2)
        return Streamed(session.epoch, length - len(tokens), tokens, length, digest, self.draft_limit, last, session.finish, timings)

    def _commit(self, session: _Session, token: int) -> int:
        session.committed.append([token])
        if token in session.contract.stop_tokens:
            session.finish = Finish.STOP_TOKEN
        elif len(session.committed) == len(session.contract.prompt) + session.contract.max_new_tokens:
            session.finish = Finish.LENGTH
        return token


def _key(name: str) -> bytes:
    return name.encode().ljust(16, b"-")


# --- the link


class World:
    """A transport to a reference verifier over a link with a delay, which tests break in the ways links break."""

    def __init__(self, verifier: ReferenceVerifier | None = None, one_way_s: float = 0.02, verify_s: float = 0.021) -> None:
        self.verifier = verifier or ReferenceVerifier()
        self.one_way_s = one_way_s
        self.verify_s = verify_s
        self.prefill_s = 0.0  # before a stream's first verdict, and not in its timings
        self.down = False  # the server cannot be reached at all
        self.silent = False  # messages are swallowed, as in a tunnel
        self.refusals: list[AirdraftError] = []  # raised by the next openings, one each
        self.cut_after: dict[int, str] = {}  # after that many verifier messages in all: "cut" or "restart"
        self.sent = 0
        self.opened = 0
        self._transport = InProcessTransport(self._converse, self._describe, self._carry)

    async def open(self) -> MessageStream:
        if self.down:
            raise UnavailableError("nobody listens there")
        self.opened += 1
        return await self._transport.open()

    async def describe(self) -> Description:
        return await self._transport.describe()

    async def close(self) -> None:
        await self._transport.close()

    def cut(self) -> None:
        self._transport.cut()

    def restart(self) -> None:
        self.verifier.restart()
        self._transport.cut()

    async def _carry(self, direction: Direction, size: int) -> None:
        await asyncio.sleep(self.one_way_s)
        while self.silent:
            await asyncio.sleep(0.05)

    def _describe(self) -> Description:
        load = Load(len(self.verifier.sessions), 8, 0, False)
        return Description(PROTOCOL_VERSION, "0", "reference", b"tokenizer", VOCABULARY, ("exact",), 4096, self.verifier.draft_limit, load)

    async def _converse(self, incoming: AsyncIterator[DeviceMessage]) -> AsyncIterator[VerifierMessage]:
        first = await anext(incoming)
        if self.refusals:
            raise self.refusals.pop(0)
        name, opened = self.verifier.greet(first)
        yield self._noted(opened)
        inbox: asyncio.Queue[DeviceMessage] = asyncio.Queue()
        reader = asyncio.create_task(_read_into(inbox, incoming))
        try:
            await asyncio.sleep(self.prefill_s)
            while not self.verifier.sessions[name].finish:
                for message in await self._work(name, inbox):
                    yield self._noted(message)
        finally:
            reader.cancel()

    async def _work(self, name: str, inbox: asyncio.Queue[DeviceMessage]) -> list[VerifierMessage]:
        if self.verifier.sessions[name].streaming and inbox.empty():
            await asyncio.sleep(self.verify_s)
            streamed = self.verifier.decode(name)
            return [streamed] if streamed else []
        message = await inbox.get()
        await asyncio.sleep(self.verify_s)
        return self.verifier.answer(name, message)

    def _noted(self, message: VerifierMessage) -> VerifierMessage:
        self.sent += 1
        what = self.cut_after.pop(self.sent, None)
        if what:
            asyncio.get_running_loop().call_soon(self.restart if what == "restart" else self.cut)
        return message


async def _read_into(inbox: asyncio.Queue[DeviceMessage], incoming: AsyncIterator[DeviceMessage]) -> None:
    async for message in incoming:
        inbox.put_nowait(message)


# --- the drafter


class KnowingDrafter:
    """Proposes the target's own token, but for every `wrong_every`-th position (0: never wrong, 1: always)."""

    forward_calls = 0

    def __init__(self, wrong_every: int = 0) -> None:
        self.wrong_every = wrong_every
        self.context = Prefix()
        self.calls: list[str] = []

    def begin(self, terms: Contract, rows_wanted: bool) -> None:
        self.context = Prefix(terms.prompt)

    @property
    def length(self) -> int:
        return len(self.context)

    @property
    def pending(self) -> int:
        return 1

    def extend(self, tokens: Sequence[int]) -> None:
        self.context.append(tokens)

    def step(self) -> DraftStep | None:
        position = len(self.context)
        wrong = self.wrong_every and position % self.wrong_every == 0
        token = (true_token(self.context) + bool(wrong)) % VOCABULARY
        self.context.append([token])
        self.calls.append("step")
        return DraftStep(token, position)

    def roll_back(self, length: int) -> None:
        assert length <= len(self.context)
        self.context.cut(length)
        self.calls.append("roll_back")
