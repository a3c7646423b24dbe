import errno
import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from airdraft.errors import CorruptModelError, DiskFullError, ModelUnavailableError
from airdraft.models import hub, library, weights
from airdraft.models.progress import Silent
from tests.tiny_wheels import RecordedProgress


@pytest.fixture(autouse=True)
def own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def safetensors(bytes_of_data: int = 8) -> bytes:
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, bytes_of_data]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(bytes_of_data)


def snapshot(tmp_path: Path, name: str, files: dict[str, bytes]) -> Path:
    folder = tmp_path / "hub" / "models--someone--model" / "snapshots" / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return folder


def test_a_complete_snapshot_is_found_and_an_incomplete_one_is_not(tmp_path: Path) -> None:
    snapshot(tmp_path, "aaa", {"config.json": b"{}"})
    assert library.locate("someone/model") is None
    whole = snapshot(tmp_path, "bbb", {"config.json": b"{}", "model.safetensors": safetensors()})
    assert library.locate("someone/model") == library.ensure("someone/model") == library.verify("someone/model") == whole


def test_the_snapshot_that_main_points_to_comes_first(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": safetensors()}
    snapshot(tmp_path, "aaa", files)
    newest = snapshot(tmp_path, "bbb", files)
    (tmp_path / "hub" / "models--someone--model" / "refs").mkdir()
    (tmp_path / "hub" / "models--someone--model" / "refs" / "main").write_text("bbb\n")
    assert hub.local_folder("someone/model") == newest


def test_a_hub_id_that_is_not_here_is_unavailable_offline() -> None:
    with pytest.raises(ModelUnavailableError, match="HF_HUB_OFFLINE"):
        library.ensure("someone/model")


def test_the_local_cache_follows_the_hubs_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.local_cache().name == "hub"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", "/home/of/hub")
    assert hub.local_cache() == Path("/home/of/hub/hub")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert hub.local_cache() == Path("/c/huggingface/hub")


def hub_library(tmp_path: Path, files: dict[str, bytes], lose: str = "") -> SimpleNamespace:
    """Stands in for huggingface_hub: `files` are what the repository holds; `lose` is never written."""

    def download(repository: str, name: str, revision: str, endpoint: str, tqdm_class: type) -> None:
        folder = tmp_path / "hub" / "models--someone--model" / "snapshots" / revision
        folder.mkdir(parents=True, exist_ok=True)
        with tqdm_class(total=len(files[name]), unit="B") as bar:
            bar.update(len(files[name]))
        if name != lose:
            (folder / name).write_bytes(files[name])

    siblings = [SimpleNamespace(rfilename=name, size=len(content)) for name, content in files.items()]
    api = SimpleNamespace(model_info=lambda *_, **__: SimpleNamespace(sha="abc", siblings=siblings))
    errors = SimpleNamespace(HfHubHTTPError=ConnectionError)
    return SimpleNamespace(HfApi=lambda endpoint: api, hf_hub_download=download, errors=errors)


FILES = {"config.json": b"{}", "model.safetensors": safetensors(), "README.md": b"much", "onnx/model.safetensors": b"other"}


def test_only_what_is_needed_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub_library(tmp_path, FILES))  # type: ignore[arg-type]  # a stand-in
    progress = RecordedProgress()
    folder = hub.download_folder("someone/model", progress)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert progress.done == progress.totals


def test_a_repository_without_safetensors_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub_library(tmp_path, {"model.gguf": b"x"}))  # type: ignore[arg-type]  # a stand-in
    with pytest.raises(ModelUnavailableError, match="GGUF file"):
        hub.download_folder("someone/model", Silent())


def test_a_download_that_is_not_complete_afterwards_is_corrupt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = hub_library(tmp_path, FILES, lose="model.safetensors")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)  # type: ignore[arg-type]  # a stand-in
    with pytest.raises(CorruptModelError, match="not complete"):
        hub.download_folder("someone/model", Silent())


def test_a_disk_that_fills_up_meanwhile_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fake = hub_library(tmp_path, FILES)
    fake.hf_hub_download = full
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)  # type: ignore[arg-type]  # a stand-in
    with pytest.raises(DiskFullError, match="someone/model was downloaded"):
        hub.download_folder("someone/model", Silent())


@pytest.mark.parametrize(
    "content", [b"", b"1234567", b"\xff" * 8, struct.pack("<Q", 4) + b"{no}", safetensors()[:-1], safetensors() + b"x"]
)
def test_damaged_weights_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CorruptModelError, match=r"model\.safetensors"):
        weights.check_weights(tmp_path)


def test_every_shard_of_an_index_is_checked(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    (tmp_path / "one.safetensors").write_bytes(safetensors())
    with pytest.raises(CorruptModelError, match=r"two\.safetensors"):
        weights.check_weights(tmp_path)
    (tmp_path / "two.safetensors").write_bytes(safetensors(4))
    weights.check_weights(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CorruptModelError, match=r"index\.json"):
        weights.check_weights(tmp_path)
