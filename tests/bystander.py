"""A server in its own process, devices at it, and a response beside them that must not notice what they do or suffer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from airdraft.clock import WallClock
from airdraft.errors import AirdraftError
from airdraft.messages import Draft, Open, Opened, Resume
from airdraft.transport import MessageStream
from edge.grpc_transport import GrpcTransport
from edge.session import Session
from tests.references import reference
from tests.worlds import PATIENT, Served, VerifierProcess, device, drafter, respond

SERVED = Served(limits=(("sessions", 512),))  # some broken frames are valid ones, and open sessions that nobody goes on with
PROMPT = (5, 17, 42, 8, 5, 17)
# Gives up at the first failure, however fast or slow that comes: the first pause with this seed is longer than the deadline.
HASTY = {
    "link": {"seed": 52, "connect_deadline_s": 60, "back_off_first_s": 60, "back_off_most_s": 60},
    "fallback": {"then": "stop", "deadline_s": 50},
}


@asynccontextmanager
async def serving(served: Served = SERVED) -> AsyncIterator[VerifierProcess]:
    process = VerifierProcess(served)
    await process.start()
    try:
        yield process
    finally:
        process.kill()
        await process.buried()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[GrpcTransport]:
    transport = GrpcTransport(f"127.0.0.1:{port}", PATIENT)
    try:
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def session_at(port: int, kind: str = "random", **settings: Any) -> AsyncIterator[Session]:
    clock = WallClock("device")
    async with connected(port) as transport:
        yield device(drafter(kind), 4, "sequential", transport, clock, **settings)
    clock.close()


@asynccontextmanager
async def bystander(port: int) -> AsyncIterator[None]:
    """Within: a response on the same server has begun. After: it ends with its own text, undisturbed, and so does a new one."""
    contract = SERVED.contract(PROMPT, 1.0, 11, 40)
    async with session_at(port, "model") as session:
        tokens = session.generate(contract)
        text = [(await anext(tokens)).id for _ in range(8)]
        yield
        text += [token.id async for token in tokens]
        assert tuple(text) == reference(SERVED, contract)
        assert session.statistics.reconnects == 0, "another device's fault was felt"
        following = SERVED.contract(PROMPT[::-1], 1.0, 12, 16)
        assert await respond(session, following) == reference(SERVED, following)


async def refusal(stream: MessageStream) -> AirdraftError:
    """The error that ends the stream."""
    with pytest.raises(AirdraftError) as caught:
        while await stream.receive() is not None:
            pass
    return caught.value


async def opened(transport: GrpcTransport, seed: int = 1) -> tuple[MessageStream, Opened]:
    stream = await transport.open()
    await stream.send(Open(SERVED.contract(PROMPT, 1.0, seed)))
    answer = await stream.receive()
    assert isinstance(answer, Opened)
    return stream, answer


def draft(answer: Opened, tokens: tuple[int, ...], **changes: Any) -> Draft:
    return replace(Draft(answer.epoch, 1, answer.committed_length, answer.digest, tokens), **changes)


def resume(answer: Opened, **changes: Any) -> Resume:
    return replace(Resume(answer.session_id, answer.resume_token, answer.epoch, answer.committed_length, answer.digest), **changes)
