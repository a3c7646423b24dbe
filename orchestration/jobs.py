"""Sweeps as jobs of a Ray cluster: a bundle goes up, its output streams down, and the run directory comes back.

The cluster needs the same airdraft as this machine. Everything passes through the address of Ray's dashboard, with Ray's own token when the
cluster asks for one (RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or the token file of `ray get-auth-token`).
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import secrets
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airdraft.errors import DeadlineError, UnavailableError
from orchestration.cell import renamed
from orchestration.scenario import Scenario, read_values
from orchestration.sweep.grid import expand
from orchestration.sweep.inputs import Inputs
from orchestration.sweep.on_ray import connect, demand_ray

SWEEP_FILE = "sweep.json"
ENTRYPOINT = "python -m orchestration.cli sweep {file} --address auto --runs runs --deliver {job}"
POLL_S = 0.5
CHATTY = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
STOP_DEADLINE_S = 60.0
START_DEADLINE_S = 60.0
NOT_YET = "No available agent"  # Ray's words for a cluster whose nodes are still starting
CONNECTIONS = 6  # for one job's output, which may break off now and then


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. `exit_code` is its command's; None when it was stopped or never ran."""

    job: str
    status: str  # Ray's word: SUCCEEDED, FAILED or STOPPED
    message: str
    exit_code: int | None


class Jobs:
    """Jobs at one cluster. Raises UnavailableError when it cannot be reached or refuses the token."""

    def __init__(self, address: str) -> None:
        demand_ray()
        from ray.job_submission import JobSubmissionClient  # here, since importing Ray takes a second

        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._address = address
        try:
            self._client: Any = JobSubmissionClient(address)
        except Exception as error:  # Ray raises ConnectionError, RuntimeError and its own authentication errors here
            raise UnavailableError(
                f"no Ray dashboard at {address!r}: {error}. Give the address that `ray start --head` printed."
            ) from error

    def submit(self, path: Path) -> str:
        """Send a sweep's file and the files it names; the job's name. Raises SettingsError for a file that cannot be used."""
        with tempfile.TemporaryDirectory(prefix="airdraft-job-") as folder:
            name = bundle(path, Path(folder))
            job = f"airdraft-{name}-{secrets.token_hex(4)}"
            entrypoint = ENTRYPOINT.format(file=SWEEP_FILE, job=job)
            self._patiently(self._client.submit_job, entrypoint=entrypoint, submission_id=job, runtime_env={"working_dir": folder})
        return job

    def follow(self, job: str, show: Callable[[str], None]) -> JobEnd:
        """Pass on what the job prints until it has ended. Interrupting this leaves the job running."""
        asyncio.run(self._tail(job, show))
        return self._ended(job)

    def cancel(self, job: str) -> JobEnd:
        """Stop it, and wait until it has stopped. Raises DeadlineError when that takes too long."""
        self._asked(self._client.stop_job, job)
        until = time.monotonic() + STOP_DEADLINE_S
        while time.monotonic() < until:
            end = self.end(job)
            if end is not None:
                return end
            time.sleep(POLL_S)
        raise DeadlineError(f"job {job} had not stopped after {STOP_DEADLINE_S:g} s. Look at it with: ray job status {job}")

    def end(self, job: str) -> JobEnd | None:
        """How the job ended; None while it goes on."""
        details = self._asked(self._client.get_job_info, job)
        if not details.status.is_terminal():
            return None
        return JobEnd(job, str(details.status.value), details.message or "", details.driver_exit_code)

    def fetch(self, job: str, runs: Path) -> Path:
        """Bring the job's run directory to `runs`; where it is. Raises UnavailableError when the job has left none (it must have ended)."""
        details = self._asked(self._client.get_job_info, job)
        query = f"/api/v0/logs/file?node_id={details.driver_node_id}&filename={result_name(job)}&lines=-1"
        response = self._asked(self._client._do_request, "GET", query)  # Ray offers no public call for a file of its log folder
        if response.status_code != 200:
            raise UnavailableError(f"job {job} has left no results at {self._address} ({response.text.strip()[:200]}). Run it again.")
        return unpack(response.content, runs)

    def _ended(self, job: str) -> JobEnd:
        """The end of a job whose output has ended: Ray says so a moment later."""
        until = time.monotonic() + STOP_DEADLINE_S
        while time.monotonic() < until:
            end = self.end(job)
            if end is not None:
                return end
            time.sleep(POLL_S)
        raise UnavailableError(f"the output of job {job} broke off, but it goes on. Follow it with: ray job logs --follow {job}")

    async def _tail(self, job: str, show: Callable[[str], None]) -> None:
        """Show the output as it comes. After a break it starts again from its beginning, which is then left out."""
        shown = 0
        for _ in range(CONNECTIONS):
            seen = 0
            with suppress(RuntimeError):  # the stream broke
                async for text in self._client.tail_job_logs(job):
                    fresh = text[max(shown - seen, 0) :]
                    seen += len(text)
                    if fresh:
                        show(fresh)
                        shown = seen
                return
            if self.end(job) is not None:
                return
            await asyncio.sleep(POLL_S)

    def _patiently(self, call: Callable[..., Any], **keywords: Any) -> None:
        """A cluster that has just started takes no jobs for some seconds yet."""
        until = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                self._asked(call, **keywords)
                return
            except UnavailableError as error:
                if NOT_YET not in error.message or time.monotonic() >= until:
                    raise
                time.sleep(2 * POLL_S)

    def _asked(self, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        try:
            return call(*arguments, **keywords)
        except Exception as error:  # Ray raises RuntimeError, ConnectionError and requests' own errors
            raise UnavailableError(f"the Ray cluster at {self._address} refused: {_brief(error)}.") from error


def bundle(path: Path, folder: Path) -> str:
    """Put a sweep's file and copies of all files that it names into `folder`; the sweep's name. Raises SettingsError for a faulty sweep."""
    values = read_values(path)
    scenario = Scenario.parse(values, str(path))
    cells = expand(values, str(path), lambda scenario: scenario.verifier.max_draft)
    places: dict[str, str] = {}
    for number, (file, data) in enumerate(Inputs.of(cells).contents.items()):
        places[file] = f"inputs/{number}/{Path(file).name}"
        (folder / places[file]).parent.mkdir(parents=True)
        (folder / places[file]).write_bytes(data)
    (folder / SWEEP_FILE).write_text(json.dumps(renamed(values, places)))
    return scenario.name


def deliver(run: Path, job: str) -> None:
    """On the cluster, at the end of the job: leave the run directory where `Jobs.fetch` finds it, among the node's logs."""
    ray = demand_ray()
    connect(ray, "auto", None)
    try:
        logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # where the dashboard looks; Ray has no public name for it
        unfinished = logs / f"{result_name(job)}.unfinished"
        unfinished.write_bytes(pack(run))
        unfinished.replace(logs / result_name(job))
    finally:
        ray.shutdown()


def _brief(error: Exception) -> str:
    """What an error of Ray's says, on one line, without its references."""
    return str(error).strip().splitlines()[0].rstrip(". ") if str(error).strip() else repr(error)


def result_name(job: str) -> str:
    """The file in which a job leaves its run directory."""
    return f"{job}.zip"


def pack(run: Path) -> bytes:
    """A run directory as a zip file, under its own name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(run.rglob("*")):
            if path.is_file():
                archive.write(path, Path(run.name) / path.relative_to(run))
    return data.getvalue()


def unpack(data: bytes, runs: Path) -> Path:
    """The run directory in `data`, put into `runs` beside what is there already. Raises UnavailableError when it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            tops = {Path(name).parts[0] for name in archive.namelist()}
            if len(tops) != 1:
                raise zipfile.BadZipFile(f"it holds {len(tops)} directories in place of one")
            runs.mkdir(parents=True, exist_ok=True)
            archive.extractall(runs)
    except (zipfile.BadZipFile, OSError) as error:
        raise UnavailableError(f"the results arrived damaged ({error}). Fetch them again.") from error
    return runs / tops.pop()
