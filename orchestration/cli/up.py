"""`airdraft up`: a cluster from a file, on a Ray cluster that runs or on one of its own on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestration.cli import options

if TYPE_CHECKING:
    from orchestration.cluster.deployment import Deployment
    from orchestration.cluster.settings import ClusterSettings

LOOK_EVERY_S = 1.0
MISSES = 3  # looks in a row that find no cluster, before it is taken to have been taken down


def up(
    settings: Annotated[Path, typer.Argument(metavar="CLUSTER.toml", help="What the cluster is to be; see deploy/README.md.")],
    address: options.RayAddress = None,
    replace: Annotated[bool, typer.Option("--replace", help="Drain and start anew one replica after the other.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Start the replicas that are missing.")] = False,
    grace_s: options.Grace = 30.0,
) -> None:
    """Put up verifiers and devices on Ray.

    With --address (or RAY_ADDRESS) they stay when this command ends. Without, Ray is started on this machine, and all of it ends with this
    command: on Ctrl-C, or on `airdraft down`.
    """
    from orchestration.cluster.settings import ClusterSettings

    chosen = ClusterSettings.read(settings).completed()
    console = Console(stderr=True, highlight=False)
    if replace or repair:
        _mend(address, console, grace_s if replace else None)
    elif address or os.environ.get("RAY_ADDRESS"):
        _up_on(address, chosen, console)
    else:
        _up_here(chosen, console)


def _up_on(address: str | None, settings: ClusterSettings, console: Console) -> None:
    from orchestration.cluster import ray_connection
    from orchestration.cluster.deployment import Deployment

    with ray_connection.connected(address):
        cluster = Deployment.put_up(settings, is_local=False, tell=_telling(console))
        _say_ready(cluster)


def _up_here(settings: ClusterSettings, console: Console) -> None:
    from orchestration.cluster import ray_connection
    from orchestration.cluster.deployment import Deployment

    console.print("starting Ray on this machine", style="dim")
    with ray_connection.embedded(settings) as address:
        console.print(f"Ray at {address}", style="dim")
        cluster = Deployment.put_up(settings, is_local=True, tell=_telling(console))
        try:
            _say_ready(cluster)
            console.print("Ctrl-C to take it down", style="dim")
            _until_taken_down(cluster)
        except KeyboardInterrupt:
            console.print("taking it down", style="dim")
        finally:
            cluster.take_down()
    console.print("down", style="dim")


def _mend(address: str | None, console: Console, grace_s: float | None) -> None:
    """Replace all replicas when there is a grace for their streams, else add the missing ones."""
    from orchestration.cluster import ray_connection
    from orchestration.cluster.deployment import Deployment

    with ray_connection.connected(address):
        cluster, tell = Deployment.find(), _telling(console)
        if grace_s is not None:
            cluster.replace(grace_s, tell)
        for name in cluster.missing():
            tell(f"{name} serves at {cluster.add(name).address}")
        _say_ready(cluster)


def _say_ready(cluster: Deployment) -> None:
    from orchestration.cli.serve import READY

    snapshot = cluster.snapshot()
    addresses = ", ".join(replica.report.address for replica in snapshot.replicas)
    typer.echo(f"{READY} {_count(len(snapshot.replicas), 'verifier')} at {addresses}; {_count(len(snapshot.devices), 'device')}")


def _until_taken_down(cluster: Deployment) -> None:
    misses = 0
    while misses < MISSES:
        time.sleep(LOOK_EVERY_S)
        misses = 0 if cluster.is_up else misses + 1


def _telling(console: Console) -> Callable[[str], None]:
    return partial(console.print, soft_wrap=True, markup=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
