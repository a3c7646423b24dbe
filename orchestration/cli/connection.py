"""A device connected to its verifier, which is asked first, so that a wrong address costs no loading."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestration.cli import options

if TYPE_CHECKING:
    from edge.settings import DeviceSettings
    from orchestration.assembly import Device
    from orchestration.cluster.remote_device import RemoteDevice


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach the verifier, and where the tokenizer is for a device without a drafting model."""

    cloud: str
    tls: bool | None = None
    root_certificates: Path | None = None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True)
class At:
    """Which Ray cluster, which of its devices, and where the tokenizer is on this machine."""

    address: str | None = None
    device: str | None = None
    tokenizer: str | None = None


@contextmanager
def connected_on_cluster(flags: options.DeviceFlags, at: At) -> Iterator[tuple[asyncio.Runner, RemoteDevice]]:
    """A device of the cluster that is up, under its own settings with these flags over them. Raises UnavailableError without one."""
    from airdraft.errors import SettingsError
    from orchestration import assembly
    from orchestration.cluster import ray_connection, remote_device
    from orchestration.cluster.deployment import Deployment

    if flags.drafter is not None:
        raise SettingsError("--drafter cannot be used with --on-cluster: the cluster's devices have their drafters already.")
    with ray_connection.connected(at.address), asyncio.Runner() as runner:
        cluster = Deployment.find()
        snapshot = cluster.snapshot()
        name, actor = remote_device.choose(cluster, snapshot, at.device)
        served = remote_device.served_by(snapshot)
        language = assembly.find_language(served, at.tokenizer or remote_device.folder_here(snapshot.settings))
        settings = options.over_device_settings(snapshot.settings.device, flags)
        yield runner, remote_device.RemoteDevice(actor, name, settings, language, served)


@contextmanager
def connected(settings: DeviceSettings, way: Way, console: Console) -> Iterator[tuple[asyncio.Runner, Device]]:
    """The device and the runner that its coroutines belong to. Raises UnavailableError or DeadlineError when nobody answers."""
    from orchestration import assembly
    from orchestration.cli.bars import watched

    assembly.wait_passively()
    transport = options.transport_to(way.cloud, way.tls, way.root_certificates)
    with asyncio.Runner() as runner:
        try:
            served = runner.run(transport.describe())
            with watched(console) as progress:
                progress.started("loading the device's part", None)
                device = assembly.build_device(settings, transport, served, way.tokenizer, progress)
                progress.finished()
            try:
                yield runner, device
            finally:
                device.clock.close()
        finally:
            runner.run(transport.close())
