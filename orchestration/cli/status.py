"""`airdraft status`: the cluster's verifiers and devices, live."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestration.cli import options

if TYPE_CHECKING:
    from orchestration.cluster.deployment import Deployment

EVERY_S = 1.0
WIDE = 250  # characters, for whatever is no terminal: all columns


def status(
    address: options.RayAddress = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is known as one JSON object, once.")] = False,
) -> None:
    """Show the cluster's verifiers and devices: load, health, and what they have done. Live on a terminal, until Ctrl-C."""
    from orchestration.cluster import ray_connection, status_table
    from orchestration.cluster.deployment import Deployment

    is_read_later = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(highlight=False, width=WIDE if is_read_later else None)
    with ray_connection.connected(address):
        cluster = Deployment.find()
        if as_json:
            typer.echo(json.dumps(status_table.as_json(cluster.snapshot())))
        elif once or not console.is_terminal:
            console.print(status_table.shown(cluster.snapshot()))
        else:
            _follow(cluster, console)


def _follow(cluster: Deployment, console: Console) -> None:
    from rich.live import Live

    from orchestration.cluster import status_table

    before = cluster.snapshot()
    try:
        with Live(status_table.shown(before), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(EVERY_S)
                now = cluster.snapshot()
                live.update(status_table.shown(now, before), refresh=True)
                before = now
    except KeyboardInterrupt:
        return
