"""A sweep from its file to its tables: expands the grid, leaves out what is finished, has the rest run, keeps what comes."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from orchestration.cell import Cell
from orchestration.experiment import prepare
from orchestration.materials import Materials
from orchestration.scenario import Scenario, read_values
from orchestration.sweep.directory import About, RunDirectory
from orchestration.sweep.executors import Executor, Inline, Processes
from orchestration.sweep.grid import expand
from orchestration.sweep.inputs import Inputs
from orchestration.sweep.work import Batch, Finished

LARGEST_BATCH = 8
BATCHES_PER_WORKER = 8  # so that the last ones to finish do not keep the others waiting long
NAMED_VERSIONS = ("numpy", "pydantic", "msgpack", "protobuf", "pyarrow", "ray")


class Progress(Protocol):
    """Is told how far a sweep is."""

    def started(self, cells: int, skipped: int) -> None:
        """So many cells are to be run; so many others had been before."""
        ...

    def advanced(self, finished: Sequence[Finished]) -> None:
        """These are done, or have failed."""
        ...


class Silent:
    """Progress that nobody watches."""

    def started(self, cells: int, skipped: int) -> None:
        """Nothing."""

    def advanced(self, finished: Sequence[Finished]) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where a sweep's cells run. `local`: without Ray, in `workers` processes (1: in this one); else on the cluster at `address`, or on one
    started for the purpose.
    """

    local: bool = False
    address: str | None = None
    workers: int | None = None

    def executor(self, inputs: Callable[[], Inputs]) -> AbstractContextManager[Executor]:
        """To be used in a `with`. Raises SettingsError or UnavailableError when Ray cannot be used."""
        if not self.local:
            from orchestration.sweep.on_ray import RayTasks  # here, since importing Ray takes a second

            return RayTasks(inputs(), self.address, self.workers)
        executor: Executor = Inline() if self.workers == 1 else Processes(self.workers or processors())
        return nullcontext(executor)


@dataclass(slots=True)
class Outcome:
    """What became of a sweep."""

    directory: Path
    skipped: int  # cells that had been run before
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Finished] = field(default_factory=list)
    run: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, found possible: its cells, and what its directory says of it."""

    about: About
    cells: tuple[Cell, ...]
    journals: bool = False


Start = Callable[[Sequence[Cell]], AbstractContextManager[Executor]]  # of what runs these cells, to be used in a `with`


def run_sweep(path: Path, runs: Path, where: Where, progress: Progress | None = None) -> Outcome:
    """Run a sweep's file; its directory is `runs` / its name. What is finished stays so, even when this is interrupted.

    Raises SettingsError for an impossible cell before anything runs; cells that fail on their own are in the outcome.
    """
    values, materials = read_values(path), Materials()
    cells = checked(values, str(path), materials)
    scenario = Scenario.parse(values, str(path))
    plan = Plan(_about(scenario, values, cells, materials), cells, scenario.sweep.journals)
    return carry_out(plan, runs, lambda pending: where.executor(lambda: Inputs.of(pending)), progress)


def carry_out(plan: Plan, runs: Path, start: Start, progress: Progress | None = None) -> Outcome:
    """Run what of the plan has not been run before, in the directory `runs` / its name."""
    progress = progress or Silent()
    directory = RunDirectory(runs / plan.about.name)
    directory.create(plan.about, plan.cells)
    pending = [cell for cell in plan.cells if not directory.has(cell, plan.journals)]
    outcome = Outcome(directory.path, skipped=len(plan.cells) - len(pending))
    progress.started(len(pending), outcome.skipped)
    try:
        if pending:
            _run(pending, plan.journals, start, directory, outcome, progress)
    finally:
        outcome.rows = directory.conclude(plan.cells, outcome.failures)
    return outcome


def check_sweep(path: Path) -> int:
    """How many cells there are. Raises SettingsError for an impossible one."""
    return len(checked(read_values(path), str(path), Materials()))


def checked(values: dict[str, Any], source: str, materials: Materials) -> tuple[Cell, ...]:
    """All cells of a sweep's plain values. Raises SettingsError for an impossible one."""
    cells = expand(values, source, lambda scenario: materials.of(scenario).longest_draft)
    for cell in cells:
        prepare(cell, materials.of(cell.scenario))
    return cells


def _run(cells: Sequence[Cell], journals: bool, start: Start, directory: RunDirectory, outcome: Outcome, progress: Progress) -> None:
    with start(cells) as executor:
        for finished in executor.run(batches(cells, executor.workers, journals)):
            for one in finished:
                if one.failure is None:
                    directory.add(one)
                    outcome.run += 1
                else:
                    outcome.failures.append(one)
            progress.advanced(finished)


def batches(cells: Sequence[Cell], workers: int, journals: bool) -> list[Batch]:
    """Cells in tasks large enough that what a task costs beside its cells does not count, and small enough to share out evenly."""
    size = max(1, min(LARGEST_BATCH, len(cells) // (workers * BATCHES_PER_WORKER)))
    return [Batch(tuple(cells[start : start + size]), journals) for start in range(0, len(cells), size)]


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _about(scenario: Scenario, values: dict[str, Any], cells: Sequence[Cell], materials: Materials) -> About:
    digests = {Path(path).name: digest for cell in cells for path, digest in cell.file_digests.items()}
    for cell in cells:
        digests |= materials.of(cell.scenario).digests
    return About(scenario.name, values, digests, versions())


def versions() -> dict[str, str]:
    """Of Python and of what figures may depend on."""
    found = {"python": platform.python_version()}
    for name in NAMED_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
