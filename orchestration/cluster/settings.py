"""CLUSTER.toml: the tables that a single verifier and a single device have, and how many of each there are, where, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from airdraft.settings import ModelSettings, Settings
from edge.settings import DeviceSettings, DrafterSettings
from orchestration.assembly import DEFAULT_DRAFTER, DEFAULT_TARGET, CloudSettings
from orchestration.link import LinkSettings

PLACE = "airdraft-place"  # the label that says what a node is for
ANYWHERE = "anywhere"  # its value on a node that is for both


def _place(name: str) -> dict[str, str]:
    return {PLACE: f"in({name},{ANYWHERE})"}


class ReplicasSettings(Settings):
    """How many verifiers there are, and what each shard of one asks of its node. Ports and limits stand in `[server]` and `[verifier]`."""

    count: int = Field(default=1, ge=1, le=32)
    shards: int = Field(default=1, ge=1, le=64, description="processes that one verifier's model is cut over")
    cpus: float = Field(default=1.0, ge=0, le=1024, description="logical CPUs of each shard")
    gpus: float = Field(default=0.0, ge=0, le=64, description="GPUs of each shard")
    resources: dict[str, float] = Field(default_factory=dict, description="custom Ray resources of each shard")
    node_labels: dict[str, str] = Field(default_factory=lambda: _place("cloud"), description="Ray label selector of their nodes")
    restarts: int = Field(default=3, ge=0, le=1000, description="how often each verifier may be started again after it died")
    start_deadline_s: float = Field(default=600.0, gt=0, le=86_400, description="to find a place, load the model, and serve")
    shard_deadline_s: float = Field(default=30.0, gt=0, le=3600, description="silence of a shard after which its verifier is started anew")


class DevicesSettings(Settings):
    """How many devices there are, what each asks of its node, and the links they are behind."""

    count: int = Field(default=0, ge=0, le=10_000)
    cpus: float = Field(default=0.5, ge=0, le=1024, description="logical CPUs of each device")
    gpus: float = Field(default=0.0, ge=0, le=64)
    resources: dict[str, float] = Field(default_factory=dict, description="custom Ray resources of each device")
    node_labels: dict[str, str] = Field(default_factory=lambda: _place("edge"), description="Ray label selector of their nodes")
    restarts: int = Field(default=3, ge=0, le=1000, description="how often each device may be started again after it died")
    links: tuple[str | LinkSettings, ...] = Field(
        default=(), description="presets or [[devices.links]] tables; devices take them in turn; none: the network as it is"
    )
    root_certificates: Path | None = Field(default=None, description="PEM file that proves the verifiers, when they serve over TLS")
    start_deadline_s: float = Field(default=600.0, gt=0, le=86_400, description="to find a place and load the drafter")
    waiting: int = Field(default=64, ge=1, le=10_000, description="prompts that may wait for one device")

    @model_validator(mode="after")
    def _known_links(self) -> Self:
        for link in self.links:
            if isinstance(link, str):
                LinkSettings(preset=link)
        return self

    def link(self, index: int) -> LinkSettings | None:
        """The link of a device; None: the network as it is. Devices of one kind of link differ in their seeds."""
        if not self.links:
            return None
        chosen = self.links[index % len(self.links)]
        settings = LinkSettings(preset=chosen) if isinstance(chosen, str) else chosen
        return settings.model_copy(update={"seed": (settings.seed + index) % 2**64})


class ClusterSettings(CloudSettings):
    """Everything about a cluster. `[verifier]`, `[verifier.model]` and `[server]` are as for `airdraft serve`, `[device]` as for a device.

    `server.port` is the first replica's; the others follow on the ports after it. Port 0: any free one each.
    """

    replicas: ReplicasSettings = ReplicasSettings()
    devices: DevicesSettings = DevicesSettings()
    device: DeviceSettings = DeviceSettings()
    report_s: float = Field(default=0.5, gt=0, le=60, description="how often verifiers and devices tell the directory how they are")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.server.port and self.server.port + self.replicas.count > 65536:
            raise ValueError(f"server.port {self.server.port} leaves no ports for {self.replicas.count} replicas; choose a lower one")
        if self.devices.links and self.server.certificate_chain is not None:
            raise ValueError("devices.links and server.certificate_chain exclude each other: links are emulated in the clear only")
        return self

    @property
    def silence_s(self) -> float:
        """After how long without a word somebody is taken to be gone: long enough for a machine that is far too busy.

        Whoever is sent to a verifier that is gone meanwhile goes on at the next one at once.
        """
        return max(6 * self.report_s, 10.0)

    @property
    def cpus(self) -> float:
        """Logical CPUs that all of it asks for."""
        return self.replicas.count * self.replicas.shards * self.replicas.cpus + self.devices.count * self.devices.cpus

    @property
    def gpus(self) -> float:
        """GPUs that all of it asks for."""
        return self.replicas.count * self.replicas.shards * self.replicas.gpus + self.devices.count * self.devices.gpus

    def completed(self) -> Self:
        """With the models that the file leaves open."""
        changes: dict[str, Settings] = {}
        if self.verifier.model is None:
            changes["verifier"] = self.verifier.model_copy(update={"model": ModelSettings(model=DEFAULT_TARGET)})
        if self.device.drafter == DrafterSettings():
            drafter = DrafterSettings(model=ModelSettings(model=DEFAULT_DRAFTER))
            changes["device"] = self.device.model_copy(update={"drafter": drafter})
        return self.model_copy(update=changes)

    def cloud(self, index: int, host: str) -> CloudSettings:
        """One replica's settings, to be served at this host of its node unless the file names another."""
        port = self.server.port + index if self.server.port else 0
        given = "host" in self.server.model_fields_set
        server = self.server.model_copy(update={"port": port, "host": self.server.host if given else host})
        return CloudSettings(verifier=self.verifier, server=server)
