"""A full server, a dead one, a corrupt model, a full disk: each ends in its stated error for whom it concerns, and for nobody else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from airdraft import models
from airdraft.errors import (
    CapacityError,
    CorruptModelError,
    DiskFullError,
    LinkLostError,
)
from airdraft.messages import Open
from airdraft.models import cache
from airdraft.settings import ModelSettings
from tests.bystander import HASTY, PROMPT, SERVED, bystander, connected, refusal, serving, session_at
from tests.references import reference
from tests.tiny_models import tiny_llama
from tests.worlds import Served, respond

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
