"""The `airdraft` command as tests run it: within this process (quick), or as a process of its own (real)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestration.cli import main

ROOT = Path(__file__).parents[1]
DEADLINE_S = 180.0  # of a process; nothing is timed by it


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """Within this process; not for commands that must be interrupted."""
    before = signal.getsignal(signal.SIGTERM)
    surroundings = dict(os.environ)
    capsys.readouterr()
    try:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)
        for name in os.environ.keys() - surroundings.keys():
            del os.environ[name]  # `--debug` and the like are meant for one process, which here is everybody's
        os.environ.update(surroundings)
    captured = capsys.readouterr()
    return Ended(ended.value.code or 0, captured.out, captured.err)


def environment(**others: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT / "proto"), str(ROOT)])
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "100"} | others


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "orchestration.cli", *arguments]


def run(*arguments: str, text: str | None = None, **others: str) -> Ended:
    """As a process of its own, to its end."""
    done = subprocess.run(
        command(*arguments), input=text or "", capture_output=True, text=True, timeout=DEADLINE_S, env=environment(**others), cwd=ROOT
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def start(arguments: Sequence[str], **others: str) -> subprocess.Popen[str]:
    """As a process of its own, left running; its standard output is read line by line."""
    return subprocess.Popen(
        command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(**others), cwd=ROOT,
    )  # fmt: skip
