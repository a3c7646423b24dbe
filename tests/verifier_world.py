"""A verifier over the hash target in virtual time, and devices that speak to it message by message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airdraft.errors import AirdraftError
from airdraft.messages import Contract, DeviceMessage, Draft, Open, Opened, QuantisedRow, Resume, Stream, Streamed, Verdict, VerifierMessage
from airdraft.prefix import Prefix
from cloud.settings import VerifierSettings
from cloud.verifier import Verifier
from tests.hash_target import MODEL, TOKENIZER_DIGEST, VOCABULARY, HashTarget, next_token
from tests.virtual_time import VirtualClock

LONG_PROMPT = tuple(index % VOCABULARY for index in range(200))


def world(slots: int = 4, capacity: int = 512, **settings: Any) -> Verifier:
    target = HashTarget(slots, capacity)
    return Verifier(target, MODEL, TOKENIZER_DIGEST, VirtualClock(), VerifierSettings(**settings))


def target_of(verifier: Verifier) -> HashTarget:
    target = verifier._target
    assert isinstance(target, HashTarget)
    return target


class Device:
    """One response's device: holds what it was told is committed, and checks each message against it."""

    def __init__(self, verifier: Verifier, agreed: Contract) -> None:
        self.contract = agreed
        self.committed = Prefix(agreed.prompt)
        self.opened: Opened | None = None
        self.finished = False
        self.round = 0
        self.share_s = 0.0
        self.connect(verifier)

    def connect(self, verifier: Verifier) -> None:
        """A new stream."""
        self.up: asyncio.Queue[DeviceMessage | Exception | None] = asyncio.Queue()
        self.answers = verifier.converse(self._arrivals())

    async def _arrivals(self) -> AsyncIterator[DeviceMessage]:
        while (message := await self.up.get()) is not None:
            if isinstance(message, Exception):
                raise message
            yield message

    def send(self, message: DeviceMessage | Exception | None) -> None:
        self.up.put_nowait(message)

    async def receive(self) -> VerifierMessage | None:
        message = await anext(self.answers, None)
        match message:
            case Opened():
                self.opened = message
                self.committed.append(message.tokens)
            case Streamed():
                assert message.position == len(self.committed)
                self.committed.append(message.tokens)
                self.share_s += message.timings.share_s
            case Verdict():
                self.share_s += message.timings.share_s
        if message is not None:
            self.finished = bool(message.finish)
        return message

    @property
    def epoch(self) -> int:
        return self.opened.epoch if self.opened else 1

    @property
    def response(self) -> tuple[int, ...]:
        return self.committed.tokens(len(self.contract.prompt))

    async def open(self, **changes: Any) -> Opened:
        self.send(Open(self.contract, **changes))
        opened = await self.receive()
        assert isinstance(opened, Opened)
        return opened

    async def resume(self, verifier: Verifier, **changes: Any) -> Opened:
        assert self.opened is not None
        self.connect(verifier)
        values = {"epoch": self.epoch, "committed_length": len(self.committed), "digest": self.committed.digest()}
        self.send(Resume(self.opened.session_id, **({"resume_token": self.opened.resume_token} | values | changes)))
        opened = await self.receive()
        assert isinstance(opened, Opened)
        return opened

    def true_tokens(self, count: int) -> tuple[int, ...]:
        """What the target will say next."""
        prefix = self.committed.copy()
        for _ in range(count):
            prefix.append([next_token(self.contract, prefix.digest(), len(prefix))])
        return prefix.tokens(len(self.committed))

    def draft(self, tokens: Sequence[int], rows: Sequence[QuantisedRow] = ()) -> Draft:
        self.round += 1
        return Draft(self.epoch, self.round, len(self.committed), self.committed.digest(), tuple(tokens), rows=tuple(rows))

    async def round_trip(self, tokens: Sequence[int]) -> Verdict:
        """Draft, and take in the verdict."""
        self.send(self.draft(tokens))
        verdict = await self.receive()
        assert isinstance(verdict, Verdict)
        self.committed.append(tokens[: verdict.accepted])
        self.committed.append([] if verdict.token is None else [verdict.token])
        assert (len(self.committed), self.committed.digest()) == (verdict.committed_length, verdict.digest)
        return verdict

    async def finish_drafting(self, length: int = 4, wrong_at: int = 2) -> None:
        """Draft to the end of the response: right up to the token `wrong_at` of each draft, wrong from there on."""
        while not self.finished:
            tokens = self.true_tokens(length)
            await self.round_trip([(token + (index >= wrong_at)) % VOCABULARY for index, token in enumerate(tokens)])

    async def finish_streaming(self) -> None:
        while not self.finished:
            assert await self.receive() is not None

    def stream(self, on: bool) -> None:
        self.send(Stream(self.epoch, on))

    async def hang_up(self) -> None:
        """As a cut does: the verifier's side of the stream is closed under it."""
        await self.answers.aclose()

    async def refusal(self) -> AirdraftError:
        """The error that ends the stream."""
        try:
            while (message := await self.receive()) is not None:
                pass
        except AirdraftError as error:
            return error
        raise AssertionError(f"the stream ended in good order after {message}")
