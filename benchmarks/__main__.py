"""`python -m benchmarks [NAME …] [--quick]`: run benchmarks, print their tables, keep them under benchmarks/results, and in the README."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from airdraft.errors import SettingsError
from airdraft.settings import unknown
from benchmarks import readme

NAMES = ("overhead", "batching", "invariance", "assisted", "sharding", "sweep", "fleet")


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which: {', '.join(NAMES)}. All when none is named.")] = None,
    quick: Annotated[bool, typer.Option(help="Few repetitions, to see that they run; nothing is kept.")] = False,
) -> None:
    """Measure, print Markdown, keep it with JSON under benchmarks/results, and a line in the README. Ends with 1 if a bar is missed."""
    chosen = names or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            raise SettingsError(unknown("benchmark", name, list(NAMES)))
    missed = []
    for name in chosen:
        report = importlib.import_module(f"benchmarks.{name}").run(quick)
        typer.echo(report.markdown())
        if not quick:
            report.save()
            readme.rewrite(NAMES)
        if report.met is False:
            missed.append(name)
    if missed and not quick:
        typer.echo(f"bars not met: {', '.join(missed)}", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
