"""Whatever goes wrong for one device ends in its stated error for that device only.

Beside it, on the same server in a process of its own, another response goes on to its right end, and the server takes the next one.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from airdraft import PROTOCOL_VERSION, models
from airdraft.clock import WallClock
from airdraft.errors import (
    AirdraftError,
    CapacityError,
    ContractError,
    CorruptModelError,
    DiskFullError,
    DraftTooLongError,
    ForgedSessionError,
    LinkLostError,
    MalformedMessageError,
    PromptTooLongError,
    ProtocolError,
    ProtocolVersionError,
    SettingsError,
    SupersededError,
    TokenizerMismatchError,
    TokenOutOfRangeError,
    UnknownRuleError,
    UnknownSessionError,
    WrongModelError,
)
from airdraft.messages import Draft, Open, Opened, Outcome, Resume, RuleChoice, Verdict
from airdraft.models import cache
from airdraft.prefix import Prefix
from airdraft.settings import ModelSettings
from airdraft.transport import MessageStream
from airdraft.wire import methods
from airdraft.wire.codec import encode_device
from airdraft.wire.status import from_status
from cloud.settings import VerifierSettings
from edge.grpc_transport import GrpcTransport
from edge.session import Session
from edge.settings import DeviceSettings
from tests.references import reference
from tests.tiny_models import VOCABULARY, tiny_llama
from tests.worlds import PATIENT, Served, VerifierProcess, device, drafter, respond

SERVED = Served(limits=(("sessions", 512),))  # some broken frames are valid ones, and open sessions that nobody goes on with
PROMPT = (5, 17, 42, 8, 5, 17)
# Gives up at the first failure, however fast or slow that comes: the first pause with this seed is longer than the deadline.
HASTY = {
    "link": {"seed": 52, "connect_deadline_s": 60, "back_off_first_s": 60, "back_off_most_s": 60},
    "fallback": {"then": "stop", "deadline_s": 50},
}


# --- a server, devices, and the one who must not notice


@asynccontextmanager
async def serving(served: Served = SERVED) -> AsyncIterator[VerifierProcess]:
    process = VerifierProcess(served)
    await process.start()
    try:
        yield process
    finally:
        process.kill()
        await process.buried()


@pytest.fixture(scope="module")
def port() -> Any:
    """One server for most of the tests here: whatever they do to it, it has to serve the next."""
    process = VerifierProcess(SERVED)
    asyncio.run(process.start())
    yield process.port
    process.kill()
    asyncio.run(process.buried())


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


# --- contracts


@pytest.mark.parametrize(
    "changes, error, words",
    [
        ({"tokenizer_digest": b"another tokenizer"}, TokenizerMismatchError, "same vocabulary"),
        ({"vocabulary_size": VOCABULARY - 1}, TokenizerMismatchError, "95 tokens"),
        ({"model": "another model"}, WrongModelError, "another verifier"),
        ({"protocol_version": PROTOCOL_VERSION + 1}, ProtocolVersionError, "Upgrade the verifier"),
        ({"rule": RuleChoice("exact", (("treshold", 0.5),))}, UnknownRuleError, "treshold"),
        ({"rule": RuleChoice("speculative_sampling", (("row_with", 8.0),))}, UnknownRuleError, "row_width"),
        ({"prompt": (1,) * SERVED.context}, PromptTooLongError, "511 tokens or fewer"),
        ({"prompt": (1, VOCABULARY)}, TokenOutOfRangeError, "0 to 95"),
        ({"prompt": (1, 2**31 - 1)}, TokenOutOfRangeError, "0 to 95"),
        ({"stop_tokens": (VOCABULARY,)}, TokenOutOfRangeError, "stop token"),
        ({"prompt": ()}, ContractError, "empty"),
        ({"max_new_tokens": 0}, ContractError, "at least 1"),
    ],
)
async def test_a_contract_that_cannot_be_kept_is_refused_at_once_and_says_what_to_change(port, changes, error, words):
    async with bystander(port), session_at(port, "random") as session:
        with pytest.raises(error, match=words) as caught:
            await respond(session, replace(SERVED.contract(PROMPT), **changes))
        assert type(caught.value) is error


async def test_a_rule_unknown_to_the_device_or_to_the_verifier(port):
    contract = SERVED.contract(PROMPT, rule=RuleChoice("exakt"))
    async with bystander(port), session_at(port) as session, connected(port) as transport:
        with pytest.raises(UnknownRuleError, match="Did you mean 'exact'"):
            await respond(session, contract)
        stream = await transport.open()
        await stream.send(Open(contract))
        error = await refusal(stream)
        assert type(error) is UnknownRuleError and "Did you mean 'exact'" in error.message


@pytest.mark.parametrize("settings, key, nearest", [(DeviceSettings, "draft_lenght", "draft_length"), (VerifierSettings, "slot", "slots")])
def test_an_unknown_key_is_refused_with_the_nearest_known_one(settings, key, nearest):
    with pytest.raises(SettingsError, match=f"Did you mean '{nearest}'"):
        settings.parse({key: 4})


# --- drafts and sessions


@pytest.mark.parametrize(
    "tokens, error",
    [((1,) * 17, DraftTooLongError), ((1, VOCABULARY), TokenOutOfRangeError), ((2**31 - 1,), TokenOutOfRangeError)],
    ids=["too-long", "out-of-range", "far-out-of-range"],
)
async def test_a_draft_that_breaks_the_contract_ends_its_stream_and_the_session_can_be_resumed(port, tokens, error):
    async with bystander(port), connected(port) as transport:
        stream, answer = await opened(transport)
        await stream.send(draft(answer, tokens))
        assert type(await refusal(stream)) is error
        stream = await transport.open()
        await stream.send(resume(answer))
        again = await stream.receive()
        assert (again.session_id, again.epoch) == (answer.session_id, answer.epoch + 1)
        await stream.send(draft(again, ()))
        verdict = await stream.receive()
        assert verdict.token == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1))[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: {"digest": answer.digest ^ 1},
        lambda answer: {"position": answer.committed_length + 1},
        lambda answer: {"position": answer.committed_length - 1},
        lambda answer: {"epoch": answer.epoch + 5},
    ],
    ids=["digest", "ahead", "behind", "epoch"],
)
async def test_a_draft_made_from_another_text_is_stale_and_changes_nothing(port, change):
    async with bystander(port), connected(port) as transport:
        stream, answer = await opened(transport)
        await stream.send(draft(answer, (1, 2), **change(answer)))
        verdict = await stream.receive()
        assert isinstance(verdict, Verdict) and verdict.outcome is Outcome.STALE
        assert (verdict.accepted, verdict.token) == (0, None)
        assert (verdict.committed_length, verdict.digest) == (len(PROMPT), Prefix(PROMPT).digest())
        await stream.send(draft(answer, (), round=2))
        assert (await stream.receive()).token == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1))[0]


@pytest.mark.parametrize(
    "change, error",
    [
        (lambda answer: {"session_id": "nobody"}, UnknownSessionError),
        (lambda answer: {"resume_token": bytes(16)}, ForgedSessionError),
        (lambda answer: {"digest": answer.digest ^ 1}, ProtocolError),
        (lambda answer: {"committed_length": answer.committed_length + 9}, ProtocolError),
    ],
    ids=["unknown", "forged", "other-text", "text-never-committed"],
)
async def test_a_session_that_is_not_ones_own_cannot_be_resumed_nor_disturbed(port, change, error):
    async with bystander(port), connected(port) as transport:
        stream, answer = await opened(transport)
        thief = await transport.open()
        await thief.send(resume(answer, **change(answer)))
        assert type(await refusal(thief)) is error
        await stream.send(draft(answer, ()))
        assert (await stream.receive()).token == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1))[0]


async def test_a_stream_that_another_one_has_resumed_ends_and_says_so(port):
    async with bystander(port), connected(port) as transport:
        older, answer = await opened(transport)
        newer = await transport.open()
        await newer.send(resume(answer))
        again = await newer.receive()
        assert type(await refusal(older)) is SupersededError
        await newer.send(draft(again, ()))
        assert (await newer.receive()).token == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1))[0]


async def test_messages_out_of_place(port):
    async with bystander(port), connected(port) as transport:
        stream, answer = await opened(transport)
        await stream.send(Open(SERVED.contract(PROMPT)))
        assert type(await refusal(stream)) is MalformedMessageError
        stream = await transport.open()
        await stream.send(draft(answer, (1,)))
        assert type(await refusal(stream)) is MalformedMessageError


# --- frames


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


# --- servers


async def test_a_full_server_says_when_to_come_back_and_takes_the_next_one_in_when_there_is_room():
    contract = SERVED.contract(PROMPT, 1.0, 21, 16)
    async with serving(Served(limits=(("sessions", 1),))) as process:
        async with bystander(process.port), connected(process.port) as transport:
            stream = await transport.open()
            await stream.send(Open(contract))
            error = await refusal(stream)
            assert type(error) is CapacityError and error.retry_after_s
            async with session_at(process.port, **HASTY) as hasty:
                with pytest.raises(CapacityError, match="stayed full"):
                    await respond(hasty, contract)
        async with session_at(process.port) as first, session_at(process.port) as second:
            found = await asyncio.gather(respond(first, contract), respond(second, contract))
            assert found == [reference(SERVED, contract)] * 2, "the second waits for its place"


async def test_a_dead_server_is_noticed_by_those_it_served_and_by_nobody_else(port):
    async with serving() as dying, bystander(port), session_at(dying.port, **HASTY) as session:
        tokens = session.generate(SERVED.contract(PROMPT, 1.0, 1, 200))
        shown = [await anext(tokens) for _ in range(5)]
        dying.kill()
        with pytest.raises(LinkLostError, match="tokens are committed"):
            async for token in tokens:
                shown.append(token)
        assert tuple(token.id for token in shown) == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1, 200))[: len(shown)]


async def test_a_server_that_never_was_is_given_up_at_the_deadline(port):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with bystander(port), session_at(nobody.getsockname()[1], **HASTY) as session:
            with pytest.raises(LinkLostError, match="no verifier can be reached"):
                await respond(session, SERVED.contract(PROMPT))


# --- models


@pytest.fixture
def tiny_folder(tmp_path) -> Path:
    tiny_llama().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def cut_in_half(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def without_a_head(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(b"\x00" * 8 + weights.read_bytes()[8:])


def missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", [cut_in_half, without_a_head, missing])
async def test_a_corrupt_model_file_is_named_and_harms_nobody_else(port, tiny_folder, damage: Callable[[Path], None]):
    settings = ModelSettings(model=str(tiny_folder), dtype="float32")
    models.load_model(models.ensure(str(tiny_folder)), settings)
    async with bystander(port):
        damage(tiny_folder)
        with pytest.raises(CorruptModelError, match=r"model\.safetensors"):
            models.load_model(models.ensure(str(tiny_folder)), settings)


async def test_a_full_disk_is_said_before_anything_is_fetched(port, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path))
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(total=10**12, used=10**12, free=10**6))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    async with bystander(port):
        with pytest.raises(DiskFullError, match="AIRDRAFT_CACHE"):
            models.ensure("smollm2-135m")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 0]
