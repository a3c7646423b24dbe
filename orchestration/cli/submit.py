"""`airdraft submit`: a sweep as a job of a Ray cluster, followed to its end; and what may be asked about one later."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.cli.sweep import Runs

if TYPE_CHECKING:
    from orchestration.jobs import JobEnd, Jobs

STOPPED = 130


def submit(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The sweep.")] = None,
    address: Annotated[
        str, typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", metavar="URL", help="The cluster's dashboard.")
    ] = "http://127.0.0.1:8265",
    runs: Runs = Path("runs"),
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job to its end and bring its results back.")] = True,
    cancel: Annotated[str | None, typer.Option("--cancel", metavar="JOB", help="Stop this job instead.")] = None,
    fetch: Annotated[str | None, typer.Option("--fetch", metavar="JOB", help="Bring back the results of this job instead.")] = None,
) -> None:
    """Run a sweep on a Ray cluster; its exit code is this command's."""
    from airdraft.errors import SettingsError
    from orchestration.jobs import Jobs

    if sum(given is not None for given in (file, cancel, fetch)) != 1:
        raise SettingsError("give one of: a sweep's file to submit, --cancel JOB, --fetch JOB.")
    if file is not None and not file.is_file():
        raise SettingsError(f"there is no file {file}. Name a sweep's TOML file.")
    jobs = Jobs(address)
    if cancel is not None:
        typer.echo(_words(jobs.cancel(cancel)))
    elif fetch is not None:
        typer.echo(f"results: {jobs.fetch(fetch, runs)}")
    elif file is not None:
        job = jobs.submit(file)
        typer.echo(f"submitted: {job}")
        if wait:
            _follow(jobs, job, runs)


def _follow(jobs: Jobs, job: str, runs: Path) -> None:
    try:
        end = jobs.follow(job, _show)
    except KeyboardInterrupt:
        typer.echo(f"\nthe job goes on. Stop it with --cancel {job}, bring its results with --fetch {job}.", err=True)
        raise typer.Exit(STOPPED) from None
    typer.echo(_words(end))
    if end.exit_code is not None and end.exit_code in (0, 1):  # 1: some cells failed, the others have results
        typer.echo(f"results: {jobs.fetch(job, runs)}")
    if end.status != "SUCCEEDED":
        raise typer.Exit(end.exit_code or STOPPED)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _words(end: JobEnd) -> str:
    return f"{end.job}: {end.status.lower()}. {end.message}".rstrip()
