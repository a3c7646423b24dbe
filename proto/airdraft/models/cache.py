"""Where airdraft keeps models on disk: the folders, the room in them, and the lock that lets one process at a time change an entry."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from airdraft.errors import DeadlineError, DiskFullError, SettingsError
from airdraft.models.extras import demand
from airdraft.models.progress import Meter, Progress

VARIABLE = "AIRDRAFT_CACHE"
LOCK_DEADLINE_S = 3600.0
MARGIN_BYTES = 64 << 20


def root() -> Path:
    """The cache's folder: `AIRDRAFT_CACHE` if set, else the user's cache folder of this platform. It need not exist."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("airdraft", appauthor=False))


def ready_folder(key: str) -> Path:
    """Where a model lies once it is ready to be loaded."""
    return root() / "models" / key


def gguf_file(name: str) -> Path:
    """Where a whole and checked GGUF file lies."""
    return root() / "gguf" / name


def unfinished_folder(key: str) -> Path:
    """Where unfinished downloads and conversions of a model lie; nothing in it is ever used as if complete."""
    return root() / "unfinished" / key


def made(folder: Path) -> Path:
    """The same folder, now existing. Raises SettingsError when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"the model cache cannot use {folder} ({error}). Set {VARIABLE} to a folder that can be written to.") from error
    return folder


def require_room(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise DiskFullError unless the disk that holds `folder` has `needed_bytes` free and a little more."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes + MARGIN_BYTES:
        raise DiskFullError(
            f"{purpose} needs {(needed_bytes + MARGIN_BYTES) / 1e9:.2f} GB in {folder}, and {free_bytes / 1e9:.2f} GB are free there. "
            f"Free some room, or set {VARIABLE} to a folder on a larger disk."
        )


def disk_full(error: OSError, purpose: str) -> DiskFullError | None:
    """The DiskFullError that an operating system's error amounts to, or None when it is about something else."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return DiskFullError(f"the disk became full while {purpose}. Free some room, or set {VARIABLE} to a folder on a larger disk.")


@contextlib.contextmanager
def locked(key: str, progress: Progress, deadline_s: float = LOCK_DEADLINE_S) -> Iterator[None]:
    """Hold the entry's lock, so that no other process changes it. Raises DeadlineError when another holds it for too long."""
    filelock = demand("filelock")
    path = made(root() / "locks") / f"{key}.lock"
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        try:
            with Meter(progress, f"waiting for another process that is fetching {key}", None):
                lock.acquire(timeout=deadline_s)
        except filelock.Timeout as error:
            raise DeadlineError(
                f"another process has been fetching {key!r} for {deadline_s:.0f} s (lock {path}). Wait for it or end it, then try again."
            ) from error
    try:
        yield
    finally:
        lock.release()
