"""`airdraft models`: which models are known and here, how to have one, and where it lies."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

application = typer.Typer(help="Models: list them, fetch one, show where it lies.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A known name, a hub id, a local folder or a GGUF file.")]


@application.command("list")
def list_models() -> None:
    """The known models, their sizes, and which of them are on this machine."""
    from airdraft.models import cache, listing
    from orchestration.cli.bars import size

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (("name", "left"), ("here", "left"), ("download", "right"), ("on disk", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("architecture", overflow="fold")
    table.add_column("licence")
    for entry in listing():
        here = "[green]yes[/]" if entry.present else "no"
        table.add_row(entry.name, here, size(entry.bytes), size(entry.converted_bytes), entry.architecture, entry.licence)
    console.print(table)
    console.print(f"kept in {cache.root()} (set {cache.VARIABLE} to change)", highlight=False, soft_wrap=True, style="dim")


@application.command("fetch")
def fetch_model(name: Name) -> None:
    """Fetch a model (or check every byte of one that is here, and repair it), and print its folder."""
    from airdraft.models import fetch
    from orchestration.cli.bars import watched

    with watched(Console(stderr=True)) as progress:
        folder = fetch(name, progress)
    typer.echo(folder)


@application.command("path")
def show_path(name: Name) -> None:
    """Print the folder of a model that is on this machine."""
    from airdraft.errors import UnknownModelError
    from airdraft.models import locate

    folder = locate(name)
    if folder is None:
        raise UnknownModelError(f"{name!r} is not on this machine. Get it with: airdraft models fetch {name}")
    typer.echo(folder)
