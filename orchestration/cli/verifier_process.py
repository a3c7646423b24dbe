"""A verifier in a process of its own, with an interpreter of its own, that never outlives this one."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import airdraft
from airdraft.errors import AirdraftError, DeadlineError, ModelError, SettingsError, UnavailableError
from orchestration.cli.addresses import parse_address
from orchestration.cli.serve import READY
from orchestration.link.proxy import Address

READY_DEADLINE_S = 600.0
STOP_GRACE_S = 5.0
MEANINGS: dict[int, type[AirdraftError]] = {2: SettingsError, 3: ModelError}  # what its exit code says


class VerifierProcess:
    """`airdraft serve` with these arguments, on a free port. Enter to start it; leave, and its whole process group is gone.

    Its standard input is a pipe from here: when this process dies, however it dies, the pipe closes and the verifier stops by itself.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._command = [sys.executable, "-m", "orchestration.cli", "serve", "--listen", "127.0.0.1:0", "--with-parent", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__

    def __enter__(self) -> VerifierProcess:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | {"PYTHONPATH": _import_path()},
            start_new_session=True,  # so that Ctrl-C reaches this process alone, and the group can be ended as a whole
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        process = self._process
        if process is not None:
            _signal_group(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_GRACE_S)
            _signal_group(process, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._log.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def wait_until_ready(self, deadline_s: float = READY_DEADLINE_S) -> Address:
        """Where it serves. Raises SettingsError, ModelError or UnavailableError with its own words when it ends first, DeadlineError."""
        assert self._process is not None and self._process.stdout is not None
        until = time.monotonic() + deadline_s
        output = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while time.monotonic() < until:
                if not selector.select(timeout=1.0):
                    continue
                data = os.read(self._process.stdout.fileno(), 4096)
                if not data:
                    raise self._ended()
                output += data
                for line in output.decode(errors="replace").splitlines(keepends=True):
                    if line.startswith(READY) and line.endswith("\n"):
                        return parse_address(line.split()[1], "the verifier's address", lowest_port=1)
        raise DeadlineError(f"the verifier was not ready within {deadline_s:g} s; its last words: {self._last_words() or 'none'}")

    def _ended(self) -> AirdraftError:
        assert self._process is not None
        code = self._process.wait()
        words = self._last_words().removeprefix("error: ") or f"it said nothing (exit code {code})"
        return MEANINGS.get(code, UnavailableError)(f"the verifier ended before it was ready: {words}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _import_path() -> str:
    """What lets the child import the packages that run here, installed or not."""
    roots = (Path(airdraft.__file__).parents[1], Path(__file__).parents[2])
    return os.pathsep.join([*map(str, roots), *filter(None, [os.environ.get("PYTHONPATH")])])
