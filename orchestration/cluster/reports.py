"""What replicas and devices say of themselves, and what the directory makes of it: plain values that travel between processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from airdraft.messages import Description
from orchestration.cluster.settings import ClusterSettings

State = Literal["serving", "draining", "idle", "answering", "silent"]
Counts = dict[str, float]  # sums since the process started


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """One verifier. `incarnation` is another one each time its process starts; seconds are sums, as all counts are."""

    name: str
    incarnation: str
    address: str  # host:port for devices
    node: str
    process_id: int
    shards: int
    is_tls: bool
    served: Description
    slots: int
    slots_in_use: int
    machine: str = ""  # in words
    shard_process_ids: tuple[int, ...] = ()
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """One device. `replica` is the address of the verifier that it is at, or was at last."""

    name: str
    incarnation: str
    node: str
    process_id: int
    link: str
    drafter: str
    is_answering: bool
    machine: str = ""  # in words
    replica: str = ""
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A verifier as the directory sees it. `counts` are those of all its incarnations."""

    report: ReplicaReport
    state: State
    restarts: int
    silent_s: float
    counts: Counts


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device as the directory sees it."""

    report: DeviceReport
    state: State
    restarts: int
    silent_s: float
    counts: Counts


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the directory knows at one moment."""

    settings: ClusterSettings
    is_local: bool  # all on one machine, serving that machine only
    uptime_s: float
    replicas: tuple[ReplicaStatus, ...]
    devices: tuple[DeviceStatus, ...]
