"""`airdraft down`: the end of a cluster, or of one of its replicas."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from orchestration.cli import options


def down(
    address: options.RayAddress = None,
    replica: Annotated[
        str | None, typer.Option("--replica", metavar="NAME", help="Drain and remove this replica only; its sessions move to the others.")
    ] = None,
    grace_s: options.Grace = 30.0,
) -> None:
    """Take down the cluster that is up on Ray: devices, verifiers, and what was reserved for them."""
    from orchestration.cluster import ray_connection
    from orchestration.cluster.deployment import Deployment

    console = Console(stderr=True, highlight=False)
    with ray_connection.connected(address):
        cluster = Deployment.find()
        if replica is None:
            cluster.take_down()
            console.print("down", style="dim")
        else:
            cluster.drain(replica, grace_s)
            console.print(f"{replica} is gone. Start it anew with: airdraft up CLUSTER.toml --repair", style="dim")
