"""Batches of cells as Ray tasks: on a small cluster that lives as long as the sweep, or on one that is there already."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Self

from airdraft import __version__
from airdraft.errors import SettingsError, UnavailableError
from orchestration.sweep.executors import DIED, failed, singles
from orchestration.sweep.inputs import Inputs
from orchestration.sweep.work import Batch, Finished, run_batch

OBJECT_STORE_BYTES = 256 * 1024 * 1024  # of an embedded cluster: recordings and results are a few megabytes
AHEAD = 2  # batches handed to Ray per worker, so that none waits for the driver


class RayTasks:
    """An executor whose batches are Ray tasks of one CPU each. To be used in a `with`, which starts a cluster, or joins the one given."""

    def __init__(self, inputs: Inputs, address: str | None = None, workers: int | None = None) -> None:
        self._inputs = inputs
        self._address = address
        self._wanted = workers
        self._ray: ModuleType = demand_ray()
        self._task: Any = None
        self._sent: Any = None
        self.workers = 1

    def __enter__(self) -> Self:
        """Raises UnavailableError when there is no cluster at the address."""
        connect(self._ray, self._address, self._wanted)
        cpus = int(self._ray.cluster_resources().get("CPU", 1))
        self.workers = max(min(cpus, self._wanted or cpus), 1)
        self._sent = self._ray.put(self._inputs)
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(_run_there)
        return self

    def __exit__(self, *exception: object) -> None:
        self._ray.shutdown()

    def run(self, batches: Sequence[Batch]) -> Iterator[list[Finished]]:
        """See `Executor.run`. A batch whose worker dies is run again cell by cell, so that only the culprit fails.

        What is under way when this is given up ends with the connection.
        """
        waiting = deque(batches)
        running: dict[Any, Batch] = {}
        while waiting or running:
            while waiting and len(running) < AHEAD * self.workers:
                batch = waiting.popleft()
                running[self._task.remote(batch, self._sent, __version__)] = batch
            done, _ = self._ray.wait(list(running), num_returns=1)
            for reference in done:
                batch = running.pop(reference)
                finished = self._result(reference, batch)
                if finished is None:
                    waiting.extendleft(singles(batch))
                else:
                    yield finished

    def _result(self, reference: Any, batch: Batch) -> list[Finished] | None:
        """What became of a batch; None when it must be taken apart."""
        try:
            finished: list[Finished] = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            return failed(batch, str(error))
        except self._ray.exceptions.RayError as error:
            return None if len(batch.cells) > 1 else failed(batch, f"{DIED} ({type(error).__name__})")
        return finished


def _run_there(batch: Batch, inputs: Inputs, version: str) -> list[Finished]:
    """On the worker's machine."""
    if version != __version__:
        return failed(batch, f"the cluster has airdraft {__version__}, this machine {version}; install the same on both")
    return run_batch(batch, inputs.unpacked())


def demand_ray() -> ModuleType:
    """Ray itself, quiet and without usage reports. Raises SettingsError that says what to install."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise SettingsError(
            f'this needs Ray, which cannot be imported ({error}). Install it with: pip install "airdraft[cluster]", or run with --local.'
        ) from error
    logging.getLogger("ray").setLevel(logging.WARNING)
    module: ModuleType = ray
    return module


def connect(ray: ModuleType, address: str | None, workers: int | None) -> None:
    """Join the cluster at `address`, or start one on this machine (None). Raises UnavailableError."""
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        ray.init(address="local", num_cpus=workers, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **common)
        return
    try:
        ray.init(address=address, **common)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UnavailableError(
            f"no Ray cluster at {address!r}: {error}. Start one with `ray start --head`, or leave --address out for one of your own."
        ) from error
