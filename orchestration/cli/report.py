"""`airdraft report`: figures and a page from the directories of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from airdraft.errors import SettingsError

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of runs, as `airdraft sweep` leaves them.")]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", help="Where to write; for one run.", show_default="report/ in the run")
]
Results = Annotated[Path | None, typer.Option("--results", metavar="FILE", help="Also write the results of all as one Markdown page.")]


def report(runs: Runs, output: Output = None, results: Results = None) -> None:
    """Draw each run's figures and write a page that needs no other file: who wins where, and how well that was predicted."""
    from orchestration.report.report import build_report, build_results  # here, since matplotlib takes long to load

    if output is not None and len(runs) > 1:
        raise SettingsError(f"--output is for one run, and {len(runs)} are named; leave it out: each report goes into its run's directory.")
    console = Console(highlight=False)
    reports = []
    for run in runs:
        made = build_report(run, output)
        reports.append(made)
        for sentence in made.sentences:
            console.print(sentence, soft_wrap=True, markup=False)
        for one in made.left_out:
            console.print(f"left out: {one.title}: {one.reason}", soft_wrap=True, markup=False)
        console.print(f"{len(made.pictures)} figures and {made.page}", soft_wrap=True, markup=False)
    if results is not None:
        build_results(reports, results)
        console.print(f"results: {results}", soft_wrap=True, markup=False)
