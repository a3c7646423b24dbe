import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from airdraft.errors import CorruptModelError, DeadlineError, DiskFullError, SettingsError, UnknownModelError
from airdraft.models import cache, catalogue, conversion, library, record, sources
from airdraft.models.catalogue import KnownModel
from airdraft.models.library import GgufFile, HubRepository, LocalFolder
from airdraft.models.progress import Progress, Silent
from airdraft.models.record import Provenance
from tests.tiny_wheels import CONTENT, RecordedProgress, tiny_model


@pytest.fixture(autouse=True)
def own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A catalogue of one model, delivered and converted without pip and transformers; the list says what was done."""
    done: list[str] = []
    model = tiny_model(tmp_path / "wheels")

    def deliver(asked: KnownModel, progress: Progress) -> Path:
        done.append("deliver")
        path = cache.gguf_file(asked.file)
        cache.made(path.parent)
        path.write_bytes(CONTENT)
        return path

    def convert(source: Path, destination: Path, provenance: Callable[[str], Provenance], progress: Progress) -> None:
        done.append("convert")
        cache.made(destination)
        (destination / "config.json").write_text('{"vocab_size": 9}')
        (destination / "model.safetensors").write_bytes(source.read_bytes())
        record.write_record(destination, provenance("5"), progress)

    monkeypatch.setattr(catalogue, "known_models", lambda: {model.name: model})
    monkeypatch.setattr(library, "known_models", lambda: {model.name: model})
    monkeypatch.setattr(sources, "deliver", deliver)
    monkeypatch.setattr(conversion, "convert", convert)
    return done


def test_a_reference_is_a_name_a_folder_a_file_or_a_hub_id(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "own.gguf").write_bytes(b"GGUF")
    assert isinstance(library.resolve("smollm2-135m"), KnownModel)
    assert library.resolve(str(tmp_path)) == LocalFolder(tmp_path)
    assert library.resolve(str(tmp_path / "own.gguf")) == GgufFile(tmp_path / "own.gguf")
    assert library.resolve("someone/their-model") == HubRepository("someone/their-model")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("smolm2-135m", "Did you mean 'smollm2-135m'"),
        ("a/b/c.gguf", "no such file or folder"),
        ("a/b.gguf", "no such file or folder"),
        ("", "Known: qwen"),
    ],
)
def test_an_unknown_reference_is_refused_with_what_is_known(
    reference: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModelError, match=words):
        library.resolve(reference)


def test_a_folder_or_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UnknownModelError, match=r"config\.json"):
        library.resolve(str(tmp_path))
    with pytest.raises(UnknownModelError, match="gguf"):
        library.resolve(str(tmp_path / "notes.txt"))


def test_a_known_model_is_delivered_and_converted_once(made: list[str], tmp_path: Path) -> None:
    assert library.locate("tiny") is None
    folder = library.ensure("tiny")
    assert folder == tmp_path / "cache" / "models" / "tiny"
    assert library.ensure("tiny/tiny-GGUF") == folder
    assert library.locate("TINY") == folder
    assert made == ["deliver", "convert"]
    assert record.read_record(folder).provenance.sha256 == tiny_model(tmp_path / "again").sha256


def test_the_list_says_what_is_here(made: list[str], tmp_path: Path) -> None:
    assert [(entry.name, entry.present) for entry in library.listing()] == [("tiny", False)]
    folder = library.ensure("tiny")
    assert library.listing()[0].present
    (folder / "model.safetensors").write_bytes(b"")
    assert not library.listing()[0].present


def test_an_own_gguf_file_is_converted_and_again_only_when_it_changes(made: list[str], tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(CONTENT)
    first = library.ensure(str(own))
    assert library.ensure(str(own)) == library.locate(str(own)) == first
    own.write_bytes(CONTENT + b"more")
    assert library.locate(str(own)) is None
    assert library.ensure(str(own)) != first
    assert made == ["convert", "convert"]


@pytest.mark.parametrize("damage", ["short", "missing", "no record"])
def test_a_damaged_model_is_refused_with_the_file_and_the_repair(made: list[str], damage: str) -> None:
    folder = library.ensure("tiny")
    file = folder / ("airdraft.json" if damage == "no record" else "model.safetensors")
    if damage == "short":
        file.write_bytes(CONTENT[:9])
    else:
        file.unlink()
    for use in (library.ensure, library.locate, library.verify):
        with pytest.raises(CorruptModelError, match=f"{file.name}.*airdraft models fetch tiny"):
            use("tiny")


def test_a_changed_byte_is_found_by_verify_and_repaired_by_fetch(made: list[str]) -> None:
    folder = library.ensure("tiny")
    (folder / "model.safetensors").write_bytes(CONTENT[:-1] + b"?")
    assert library.ensure("tiny") == folder
    with pytest.raises(CorruptModelError, match=r"model\.safetensors has the SHA-256.*airdraft models fetch tiny"):
        library.verify("tiny")
    assert library.fetch("tiny") == folder
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert library.verify("tiny") == folder


def test_fetch_of_an_intact_model_does_nothing_more(made: list[str]) -> None:
    library.fetch("tiny")
    progress = RecordedProgress()
    library.fetch("tiny", progress)
    assert made == ["deliver", "convert"]
    assert progress.labels == ["checking tiny"]
    assert progress.done == progress.totals


def test_verify_of_what_is_not_here_says_how_to_get_it(made: list[str]) -> None:
    with pytest.raises(UnknownModelError, match="airdraft models fetch tiny"):
        library.verify("tiny")


def test_a_full_disk_is_noticed_before_the_conversion(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(DiskFullError, match="converting tiny needs"):
        library.ensure("tiny")
    assert made == ["deliver"]


def test_two_at_once_fetch_once(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = sources.deliver
    inside, go_on = threading.Event(), threading.Event()

    def slow(model: KnownModel, progress: Progress) -> Path:
        inside.set()
        assert go_on.wait(60)
        return deliver(model, progress)

    monkeypatch.setattr(sources, "deliver", slow)
    found: list[Path] = []
    progress = RecordedProgress()
    waiting = threading.Event()
    monkeypatch.setattr(progress, "started", lambda label, total: waiting.set() if "waiting" in label else None)
    first = threading.Thread(target=lambda: found.append(library.ensure("tiny")))
    second = threading.Thread(target=lambda: found.append(library.ensure("tiny", progress)))
    first.start()
    assert inside.wait(60)
    second.start()
    assert waiting.wait(60)
    go_on.set()
    for thread in (first, second):
        thread.join(60)
    assert made == ["deliver", "convert"]
    assert len(found) == 2
    assert found[0] == found[1]


def test_waiting_for_another_process_has_a_deadline() -> None:
    with (
        cache.locked("tiny", Silent()),
        pytest.raises(DeadlineError, match="another process has been fetching 'tiny'"),
        cache.locked("tiny", Silent(), deadline_s=0.05),
    ):
        pass


def test_a_cache_that_cannot_be_a_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="AIRDRAFT_CACHE"):
        cache.made(cache.root() / "models")


def test_without_the_variable_the_cache_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRDRAFT_CACHE")
    assert cache.root().name == "airdraft"
    assert cache.root().is_absolute()
