"""The Hugging Face hub: what its cache on this machine holds, and downloads from it over HTTP. It sends no credentials of its own."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from airdraft.errors import CorruptModelError, ModelUnavailableError
from airdraft.models import cache
from airdraft.models.digest import CHUNK_BYTES
from airdraft.models.extras import demand
from airdraft.models.progress import Meter, Progress
from airdraft.models.weights import complete

REACH_DEADLINE_S = 4.0
READ_DEADLINE_S = 30.0
WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model")


def endpoint() -> str:
    """The hub's address, without a slash at its end."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def local_cache() -> Path:
    """The folder where the hub's own tools keep what they downloaded."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def snapshots(repository: str) -> list[Path]:
    """The versions of a repository in the local hub cache, the one that `main` points to first."""
    folder = local_cache() / f"models--{repository.replace('/', '--')}"
    try:
        main = (folder / "refs" / "main").read_text().strip()
    except OSError:
        main = ""
    found = sorted((folder / "snapshots").glob("*"))
    return sorted(found, key=lambda snapshot: snapshot.name != main)


def local_folder(repository: str) -> Path | None:
    """A complete model folder of this repository in the local hub cache, or None."""
    return next((snapshot for snapshot in snapshots(repository) if complete(snapshot)), None)


def require_reachable() -> None:
    """Raise ModelUnavailableError within seconds when the hub is switched off or does not answer."""
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise ModelUnavailableError(f"{variable} forbids it")
    findings: list[str] = []
    # A name that does not resolve can block far beyond a socket's timeout, so the question is asked in a thread that may be left behind.
    probe = threading.Thread(target=_probe, args=(findings,), daemon=True)
    probe.start()
    probe.join(REACH_DEADLINE_S)
    if findings != [""]:
        raise ModelUnavailableError(f"{endpoint()} does not answer ({findings[0] if findings else f'waited {REACH_DEADLINE_S:.0f} s'})")


def _probe(findings: list[str]) -> None:
    request = urllib.request.Request(endpoint(), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=REACH_DEADLINE_S):
            findings.append("")
    except urllib.error.HTTPError:
        findings.append("")  # it answered, whatever it thinks of the question
    except (OSError, HTTPException) as error:
        findings.append(str(error) or type(error).__name__)


def download_file(repository: str, file: str, destination: Path, meter: Meter) -> None:
    """Download one file of a public repository to `destination`, going on from what is already there.

    Raises ModelUnavailableError when the hub refuses or the connection fails; what has arrived stays for the next attempt.
    """
    done_bytes = destination.stat().st_size if destination.exists() else 0
    url = f"{endpoint()}/{repository}/resolve/main/{file}"
    request = urllib.request.Request(url, headers={"Range": f"bytes={done_bytes}-"} if done_bytes else {})
    try:
        with urllib.request.urlopen(request, timeout=READ_DEADLINE_S) as answer:
            resumed = answer.status == 206
            meter.reach(done_bytes if resumed else 0)
            with destination.open("ab" if resumed else "wb") as output:
                while chunk := answer.read(min(CHUNK_BYTES, 1 << 18)):
                    output.write(chunk)
                    meter.advance(len(chunk))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after what is there: it is whole, or wrong, and its digest will tell
            return
        raise ModelUnavailableError(f"{url} answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise ModelUnavailableError(f"{url}: {error}; what has arrived is kept, try again to go on") from error


def download_folder(repository: str, progress: Progress) -> Path:
    """Download a model's safetensors, configuration and tokenizer into the local hub cache, resuming what is there.

    Raises ModelUnavailableError when the repository cannot be had or holds no safetensors; DiskFullError.
    """
    hub_library = demand("huggingface_hub")
    try:
        information = hub_library.HfApi(endpoint=endpoint()).model_info(repository, files_metadata=True, timeout=READ_DEADLINE_S)
        sizes = _wanted_sizes(information)
        if not any(name.endswith(".safetensors") for name in sizes):
            raise ModelUnavailableError(
                f"{repository} holds no safetensors. Choose a repository that does, or download its GGUF file and give that file's path."
            )
        cache.require_room(local_cache(), sum(sizes.values()), f"downloading {repository}")
        done_bytes = 0
        with Meter(progress, f"{repository} from the hub", sum(sizes.values())) as meter:
            options = {"revision": information.sha, "endpoint": endpoint(), "tqdm_class": _bar_class(meter)}
            for name, size in sizes.items():
                hub_library.hf_hub_download(repository, name, **options)
                done_bytes += size
                meter.reach(done_bytes)
    except (OSError, ValueError, hub_library.errors.HfHubHTTPError) as error:
        if isinstance(error, OSError) and (full := cache.disk_full(error, f"{repository} was downloaded")) is not None:
            raise full from error
        raise ModelUnavailableError(
            f"the hub did not deliver {repository}: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    folder = local_folder(repository)
    if folder is None:
        raise CorruptModelError(
            f"{repository} was downloaded to {local_cache()} and is not complete there. Delete its folder and try again."
        )
    return folder


def _wanted_sizes(information: Any) -> dict[str, int]:
    """The files of a repository that we use, with their sizes in bytes; only at its top, where `from_pretrained` looks."""
    return {
        sibling.rfilename: sibling.size or 0
        for sibling in information.siblings
        if "/" not in sibling.rfilename and any(Path(sibling.rfilename).match(pattern) for pattern in WANTED)
    }


def _bar_class(meter: Meter) -> Any:
    """A bar for the hub library that draws nothing and tells `meter` how many bytes have arrived."""
    bar = demand("tqdm").tqdm

    def start(self: Any, *values: Any, **options: Any) -> None:
        bar.__init__(self, *values, **{**options, "disable": True})

    def update(self: Any, count_bytes: float | None = 1) -> None:
        meter.advance(int(count_bytes or 0))

    return type("MeteredBar", (bar,), {"__init__": start, "update": update})
