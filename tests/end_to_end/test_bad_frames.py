"""Bytes that are no message end their own call, in words; a response beside it goes on, and the server takes the next one."""

from __future__ import annotations

import random

import grpc
import pytest

from airdraft.errors import (
    AirdraftError,
    ContractError,
    DraftTooLongError,
    MalformedMessageError,
    TokenOutOfRangeError,
    UnknownSessionError,
)
from airdraft.messages import Open, Opened
from airdraft.prefix import Prefix
from airdraft.wire import methods
from airdraft.wire.codec import encode_device
from airdraft.wire.status import from_status
from tests.bystander import PROMPT, SERVED, bystander, draft, resume


async def end_of(port: int, *frames: bytes) -> AirdraftError | None:
    """Send bytes as they are; how the call ends (None: in good order)."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(methods.path(methods.CONVERSE))()
        for frame in frames:
            await call.write(frame)
        await call.done_writing()
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError as error:
            return from_status(error.code(), error.details(), tuple(error.trailing_metadata()))
    return None


def frames_of_every_kind() -> list[bytes]:
    answer = Opened("a session", bytes(16), 1, 8, len(PROMPT), Prefix(PROMPT).digest())
    return [encode_device(message) for message in (Open(SERVED.contract(PROMPT)), resume(answer), draft(answer, (1, 2, 3)))]


async def test_a_frame_cut_anywhere_is_refused_in_words(port):
    async with bystander(port):
        for frame in frames_of_every_kind():
            for length in range(1, len(frame), 3):
                assert type(await end_of(port, frame[:length])) is MalformedMessageError


def damaged(dice: random.Random, frame: bytes) -> bytes:
    """Bits flipped, bytes put in, taken out, or the end cut off."""
    bytes_ = bytearray(frame)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(bytes_) or 1)
        match dice.randrange(4):
            case 0 if bytes_:
                bytes_[place] ^= 1 << dice.randrange(8)
            case 1:
                bytes_[place:place] = dice.randbytes(dice.randint(1, 9))
            case 2:
                del bytes_[place : place + dice.randint(1, 3)]
            case 3:
                del bytes_[place + 1 :]
    return bytes(bytes_)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full), pytest.param(3, marks=pytest.mark.full)])
async def test_frames_damaged_at_random_end_their_own_call_with_an_error_of_ours(port, seed):
    """As a stream's first message, and behind a good one."""
    dice, errors = random.Random(seed), set()
    good = frames_of_every_kind()[0]
    async with bystander(port):
        for _ in range(120):
            bad = damaged(dice, dice.choice(frames_of_every_kind()))
            error = await end_of(port, *([good] if dice.random() < 0.5 else []), bad)
            if error is not None:
                errors.add(type(error))
    assert MalformedMessageError in errors
    assert errors <= {MalformedMessageError, TokenOutOfRangeError, DraftTooLongError, UnknownSessionError, *_subclasses(ContractError)}


def _subclasses(kind: type[AirdraftError]) -> set[type[AirdraftError]]:
    return {kind, *kind.__subclasses__()}
