"""A cluster's plain parts without Ray: replicas over the hash target with real servers, devices that look drafts up, one directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from airdraft.clock import WallClock
from airdraft.errors import UnavailableError
from airdraft.messages import Description, Load
from cloud.settings import VerifierSettings
from cloud.verifier import Verifier
from edge.drafters.prompt_lookup import PromptLookup
from edge.settings import DeviceSettings
from orchestration.assembly import Cloud, CloudSettings, build_server
from orchestration.cluster.device import ClusterDevice, DevicePlan
from orchestration.cluster.directory import Directory
from orchestration.cluster.replica import Replica, ReplicaPlan, Watch
from orchestration.cluster.reports import DeviceReport, ReplicaReport
from orchestration.cluster.settings import ClusterSettings
from tests.hash_target import MODEL, TOKENIZER_DIGEST, VOCABULARY, HashTarget

SOON_S = 60.0  # for something to come true on a busy machine; only a failing test waits so long


def served(sessions: int = 0, limit: int = 4, queued_rows: int = 0, draining: bool = False) -> Description:
    load = Load(sessions, limit, queued_rows, draining)
    return Description(1, "0", MODEL, TOKENIZER_DIGEST, VOCABULARY, ("exact",), 512, 8, load)


def replica_report(name: str = "verifier-0", incarnation: str = "a", **changes: Any) -> ReplicaReport:
    number = name.partition("-")[2]
    plain = ReplicaReport(name, incarnation, f"10.0.0.{number}:50051", "node", 1, 1, False, served(), 4, 1)
    return replace(plain, **changes)


def device_report(name: str = "device-0", incarnation: str = "a", **changes: Any) -> DeviceReport:
    return replace(DeviceReport(name, incarnation, "node", 1, "5g", "lookup", False), **changes)


class LocalDesk:
    """The directory, asked directly."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.is_away = False

    async def report_replica(self, report: ReplicaReport) -> Sequence[str]:
        self._look()
        return self.directory.report_replica(report)

    async def report_device(self, report: DeviceReport) -> None:
        self._look()
        self.directory.report_device(report)

    async def assign(self) -> Sequence[str]:
        self._look()
        return self.directory.assign()

    def _look(self) -> None:
        if self.is_away:
            raise UnavailableError("nobody at the desk")


class PacedTarget(HashTarget):
    """Takes a moment for each forward, so that a response can be met under way."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self._pause_s = pause_s

    def forward(self, blocks: Any) -> Any:
        time.sleep(self._pause_s)
        return super().forward(blocks)


class Parts:
    """One directory, and as many replicas and devices as a test starts."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ClusterSettings.parse({"report_s": 0.05, "server": {"port": 0}, **settings})
        self.desk = LocalDesk(Directory(self.settings, asyncio.get_running_loop().time))
        self.replicas: dict[str, Replica] = {}
        self.devices: dict[str, ClusterDevice] = {}

    async def replica(self, index: int, pace_s: float = 0.0, watch: Watch | None = None, **verifier: Any) -> Replica:
        settings = CloudSettings.parse({"server": {"port": 0}, "verifier": {"context": 512, **verifier}})
        plan = ReplicaPlan(f"verifier-{index}", settings, "127.0.0.1", "node", report_s=self.settings.report_s)
        replica = Replica(plan, lambda: cloud(settings.verifier, PacedTarget(pace_s)), self.desk.report_replica, watch or Watch())
        self.replicas[plan.name] = replica
        await replica.start()
        return replica

    async def device(self, index: int, **settings: Any) -> ClusterDevice:
        link = self.settings.devices.link(index)
        pauses = {"back_off_first_s": 0.02, "back_off_most_s": 0.2}
        device = DeviceSettings.parse({"drafter": {"kind": "lookup"}, "link": pauses, **settings})
        plan = DevicePlan(f"device-{index}", device, "node", link, report_s=self.settings.report_s)
        self.devices[plan.name] = ClusterDevice(plan, PromptLookup(), self.desk)
        await self.devices[plan.name].start()
        return self.devices[plan.name]

    async def close(self) -> None:
        for part in (*self.devices.values(), *self.replicas.values()):
            await part.stop()


@asynccontextmanager
async def parts(**settings: Any) -> AsyncIterator[Parts]:
    world = Parts(**settings)
    try:
        yield world
    finally:
        await world.close()


def cloud(settings: VerifierSettings, target: HashTarget) -> Cloud:
    clock = WallClock("target")
    verifier = Verifier(target, MODEL, TOKENIZER_DIGEST, clock, settings)
    return Cloud(verifier, build_server(verifier, CloudSettings().server), clock, MODEL, 512)


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not is_so():
            await asyncio.sleep(0.01)
