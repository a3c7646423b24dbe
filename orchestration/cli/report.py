"""`airdraft report`: figures and a page from the directory of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

Output = Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Where to write.", show_default="report/ in the run")]
Results = Annotated[Path | None, typer.Option("--results", metavar="FILE", help="Also write the results as a Markdown page.")]


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's directory, as `airdraft sweep` leaves it.")],
    output: Output = None,
    results: Results = None,
) -> None:
    """Draw a run's figures and write a page that needs no other file: who wins where, and how well that was predicted."""
    from orchestration.report.report import build_report  # here, since matplotlib takes long to load

    made = build_report(run, output, results)
    console = Console(highlight=False)
    for sentence in made.sentences:
        console.print(sentence, soft_wrap=True, markup=False)
    for one in made.left_out:
        console.print(f"left out: {one.title}: {one.reason}", soft_wrap=True, markup=False)
    console.print(f"{len(made.pictures)} figures and {made.page}", soft_wrap=True, markup=False)
    if results is not None:
        console.print(f"results: {results}", soft_wrap=True, markup=False)
