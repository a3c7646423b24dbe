"""`airdraft sweep`: a grid of scenarios, resumable, on this machine's processors or a cluster's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from orchestration.prediction import Agreement
    from orchestration.sweep.sweep import Outcome, Progress
    from orchestration.sweep.work import Finished

SHOWN = 10  # failures and exceptions that are listed on the terminal; all are in the run's directory
LINE_EVERY_S = 10.0

Runs = Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where run directories lie; this run's is named after the sweep.")]


def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The sweep: a scenario with a \\[grid].")],
    runs: Runs = Path("runs"),
    address: Annotated[
        str | None, typer.Option("--address", help="A Ray cluster: HOST:PORT, or auto.", show_default="one of its own")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Without Ray, in processes of this machine.")] = False,
    on_cluster: Annotated[bool, typer.Option("--on-cluster", help="In real time, with the devices that `airdraft up` has put up.")] = False,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="NAME", help="Model or folder with the cluster's tokenizer, for --on-cluster.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Cells at once.", show_default="one per processor")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the file and say how many cells there are.")] = False,
    deliver: Annotated[str | None, typer.Option("--deliver", hidden=True, help="The job whose results these are.")] = None,
) -> None:
    """Run every cell of a sweep that has not been run before, and write summary.parquet.

    Simulated on a virtual clock; with --on-cluster measured in real time by a cluster's devices, as the run NAME-on-cluster.
    """
    from airdraft.errors import SettingsError
    from orchestration.sweep.sweep import Where, check_sweep, run_sweep

    console = Console(stderr=True, highlight=False)
    if local and (address is not None or on_cluster):
        raise SettingsError("--local runs without Ray, and --address and --on-cluster mean a Ray cluster; give one of them.")
    if on_cluster:
        if workers is not None or deliver is not None:
            raise SettingsError("--workers cannot be used with --on-cluster: its cells are measured one after the other.")
        measure(console, Measurement(file, runs, address, tokenizer), check)
        return
    if tokenizer is not None:
        raise SettingsError("--tokenizer belongs to --on-cluster; models and recordings bring their own.")
    if check:
        console.print(f"{file}: {check_sweep(file)} cells, all possible", soft_wrap=True)
        return
    with watched(console) as progress:
        outcome = run_sweep(file, runs, Where(local, address, workers), progress)
    if deliver is not None:
        from orchestration.jobs import deliver as leave

        leave(outcome.directory, deliver)
    conclude(console, outcome)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is to be measured, where it is kept, on which Ray cluster, and where the tokenizer is on this machine."""

    file: Path
    runs: Path
    address: str | None = None
    tokenizer: str | None = None


def measure(console: Console, wanted: Measurement, check: bool) -> None:
    """The sweep on the cluster that is up; with `check`, only whether it is possible there."""
    from orchestration import assembly
    from orchestration.cluster import placing, ray_connection, remote_device
    from orchestration.cluster.deployment import Deployment
    from orchestration.cluster.experiments import Experiments
    from orchestration.scenario import read_values

    ignored = placing.left_out(read_values(wanted.file))
    with ray_connection.connected(wanted.address):
        cluster = Deployment.find()
        snapshot = cluster.snapshot()
        served = remote_device.served_by(snapshot)
        language = assembly.find_language(served, wanted.tokenizer or remote_device.folder_here(snapshot.settings))
        experiments = Experiments(remote_device.RemoteCrew(cluster), snapshot, language, served)
        if ignored:
            console.print(f"left out, since it is of simulations only: {', '.join(ignored)}", soft_wrap=True, markup=False)
        if check:
            cells = len(experiments.plan(wanted.file).cells)
            console.print(f"{wanted.file}: {cells} cells, all possible on this cluster", soft_wrap=True)
            return
        with watched(console) as progress:
            outcome = experiments.run(wanted.file, wanted.runs, progress)
    conclude(console, outcome)


def conclude(console: Console, outcome: Outcome) -> None:
    """Say what became of a sweep; exit code 1 when cells failed."""
    from orchestration.prediction import best_lengths

    failed = len(outcome.failures)
    console.print(f"{outcome.run} cells run, {outcome.skipped} had been run before, {failed} failed: {outcome.directory}", soft_wrap=True)
    for one in outcome.failures[:SHOWN]:
        console.print(f"  {one.key}: {(one.failure or '').splitlines()[0]}", style="red", soft_wrap=True, markup=False)
    if failed > SHOWN:
        console.print(f"  and {failed - SHOWN} more in {outcome.directory / 'failures.json'}", style="red", soft_wrap=True)
    show_agreement(console, best_lengths(outcome.rows))
    if failed:
        raise typer.Exit(1)


def show_agreement(console: Console, agreement: Agreement) -> None:
    """How well the cost model chose the draft lengths, and where it did not."""
    if not agreement.lengths:
        return
    share = f"{100 * agreement.share:.0f} % of {len(agreement.lengths)} sets of conditions"
    console.print(f"best fixed draft length as the cost model predicts it, give or take one token: {share}", soft_wrap=True)
    for one in agreement.exceptions[:SHOWN]:
        where = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in one.conditions.items())
        console.print(
            f"  found {one.found}, predicted {one.predicted} ({100 * one.lost:.1f} % slower): {where}", soft_wrap=True, markup=False
        )
    if len(agreement.exceptions) > SHOWN:
        console.print(f"  and {len(agreement.exceptions) - SHOWN} more")


@contextmanager
def watched(console: Console) -> Iterator[Progress]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Bars(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
        yield Bar(bars)


class Bar:
    """Cells done of those to be run, with the time that the rest should take."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=None)
        self._failed = 0

    def started(self, cells: int, skipped: int) -> None:
        """See `Progress.started`."""
        self._bars.update(self._task, description="cells", total=cells)

    def advanced(self, finished: Sequence[Finished]) -> None:
        """See `Progress.advanced`."""
        self._failed += sum(one.failure is not None for one in finished)
        description = f"cells ({self._failed} failed)" if self._failed else "cells"
        self._bars.update(self._task, advance=len(finished), description=description)


class Lines:
    """One line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_s = self._said_s = time.monotonic()
        self._cells = self._done = self._failed = 0

    def started(self, cells: int, skipped: int) -> None:
        """See `Progress.started`."""
        self._cells = cells
        self._started_s = self._said_s = time.monotonic()
        self._console.print(f"{cells} cells to run, {skipped} had been run before")

    def advanced(self, finished: Sequence[Finished]) -> None:
        """See `Progress.advanced`."""
        self._done += len(finished)
        self._failed += sum(one.failure is not None for one in finished)
        now_s = time.monotonic()
        if now_s - self._said_s >= LINE_EVERY_S:
            self._said_s = now_s
            left_s = (now_s - self._started_s) / self._done * (self._cells - self._done)
            self._console.print(f"{self._done} of {self._cells} cells, {self._failed} failed, about {left_s:.0f} s left")
