"""A cluster put up on Ray and taken down again: which actor goes where, in what order, and what is said when there is no room for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from airdraft.errors import CapacityError, DeadlineError, SettingsError, UnavailableError
from orchestration.cluster import calls, names
from orchestration.cluster.actors import STOP_S, DeviceActor, Order, VerifierActor, shard_options
from orchestration.cluster.directory import Directory
from orchestration.cluster.ray_connection import require_ray
from orchestration.cluster.reports import DeviceReport, ReplicaReport, Snapshot
from orchestration.cluster.settings import ClusterSettings

ASK_DEADLINE_S = 30.0
HEAD = "node:__internal_head__"  # Ray's own resource of the head node, whose loss is that of the whole Ray cluster

Tell = Callable[[str], None]


class Deployment:
    """All of one cluster's actors. Make it with `put_up` or `find`; every method needs a connection to Ray."""

    def __init__(self, settings: ClusterSettings, directory: Any, *, is_local: bool) -> None:
        self.settings = settings
        self._directory = directory
        self._is_local = is_local

    # --- coming and going

    @classmethod
    def put_up(cls, settings: ClusterSettings, *, is_local: bool, tell: Tell = lambda line: None) -> Self:
        """Start everything, and wait until it serves; when that fails, take down what was started.

        `is_local`: serve on this machine's loopback alone. Raises SettingsError when there is a cluster already, CapacityError when the
        nodes have no room, DeadlineError, and whatever kept a verifier or a device from starting.
        """
        ray = require_ray()
        if calls.actor(names.DIRECTORY) is not None:
            raise SettingsError("a cluster of airdraft is up already on this Ray; take it down with: airdraft down")
        directory = (
            ray.remote(Directory)
            .options(
                name=names.DIRECTORY,
                namespace=names.NAMESPACE,
                lifetime="detached",
                num_cpus=0,
                resources={HEAD: 0.001},
                max_restarts=-1,
                max_task_retries=-1,  # whoever asks has a deadline of its own
            )
            .remote(settings, time.monotonic, is_local=is_local)
        )
        cluster = cls(settings, directory, is_local=is_local)
        try:
            for index in range(settings.replicas.count):
                cluster._place(index)
            for index in range(settings.replicas.count):
                tell(_serves(cluster._await_replica(index)))
            for index in range(settings.devices.count):
                cluster._start_device(index)
            for index in range(settings.devices.count):
                tell(_is_there(cluster._await_device(index)))
        except BaseException:
            cluster.take_down()
            raise
        return cluster

    @classmethod
    def find(cls) -> Self:
        """The cluster that is up on this Ray. Raises UnavailableError when there is none."""
        directory = calls.actor(names.DIRECTORY)
        if directory is None:
            raise UnavailableError("no cluster of airdraft is up on this Ray. Put one up with: airdraft up CLUSTER.toml")
        snapshot: Snapshot = calls.result(directory.snapshot.remote(), ASK_DEADLINE_S, "the directory")
        return cls(snapshot.settings, directory, is_local=snapshot.is_local)

    def take_down(self) -> None:
        """Stop all actors, and remove what was reserved for them. What does not answer is killed."""
        ray = require_ray()
        actors = [name for name in ray.util.list_named_actors() if name != names.DIRECTORY]
        self._stop([name for name in actors if name.startswith("device-")])
        self._stop([name for name in actors if name.startswith("verifier-")])
        for group in ray.util.placement_group_table().values():
            if group["name"].startswith(names.group("")) and group["state"] != "REMOVED":
                calls.remove_group(group["name"])
        calls.kill([names.DIRECTORY])

    @property
    def is_up(self) -> bool:
        """Whether nobody has taken it down meanwhile."""
        return calls.actor(names.DIRECTORY) is not None

    # --- what it knows

    def snapshot(self) -> Snapshot:
        """What the directory knows. Raises UnavailableError when it is gone."""
        snapshot: Snapshot = calls.result(self._directory.snapshot.remote(), ASK_DEADLINE_S, "the directory")
        return snapshot

    def device(self, name: str) -> Any:
        """A device's actor. Raises UnavailableError when there is none of that name."""
        actor = calls.actor(name)
        if actor is None:
            known = ", ".join(names.device(index) for index in range(self.settings.devices.count)) or "none"
            raise UnavailableError(f"no device {name!r} in this cluster. There are: {known}.")
        return actor

    # --- replacing

    def drain(self, name: str, grace_s: float) -> None:
        """Let a replica take nobody new, and its sessions end or move elsewhere; then remove it.

        Raises UnavailableError for a name that is not there.
        """
        actor = calls.actor(name)
        if actor is None or not name.startswith("verifier-"):
            raise UnavailableError(f"no replica {name!r} in this cluster. See: airdraft status")
        patience_s = grace_s + 2 * STOP_S
        calls.result(actor.drain.options(concurrency_group=calls.CONTROL).remote(grace_s), patience_s, name)
        self._stop([name])
        calls.remove_group(names.group(name))
        calls.result(self._directory.drop.remote(name), ASK_DEADLINE_S, "the directory")

    def add(self, name: str) -> ReplicaReport:
        """Start a replica that was removed, or given up by Ray. Raises as `put_up`."""
        index = int(name.removeprefix("verifier-"))
        if calls.actor(name) is not None:
            raise SettingsError(f"{name} is there already; drain it first with: airdraft down --replica {name}")
        calls.remove_group(names.group(name))
        self._place(index)
        return self._await_replica(index)

    def missing(self) -> list[str]:
        """Replicas that the settings ask for and that are not there."""
        wanted = (names.verifier(index) for index in range(self.settings.replicas.count))
        return [name for name in wanted if calls.actor(name) is None]

    def replace(self, grace_s: float, tell: Tell = lambda line: None) -> None:
        """Drain and start anew one replica after the other: no session is lost, and all others serve meanwhile."""
        for index in range(self.settings.replicas.count):
            name = names.verifier(index)
            if calls.actor(name) is not None:
                tell(f"draining {name}")
                self.drain(name, grace_s)
            tell(_serves(self.add(name)))

    # --- placing

    def _place(self, index: int) -> None:
        """Reserve a replica's bundles and start rank 0 in the first; it starts the others itself."""
        ray, replicas, name = require_ray(), self.settings.replicas, names.verifier(index)
        bundle = {"CPU": replicas.cpus, "GPU": replicas.gpus, **replicas.resources}
        bundle = {resource: amount for resource, amount in bundle.items() if amount} or {"CPU": 0.001}
        group = ray.util.placement_group(
            [bundle] * replicas.shards,
            strategy="PACK",
            name=names.group(name),
            lifetime="detached",
            bundle_label_selector=[replicas.node_labels] * replicas.shards if replicas.node_labels else None,
        )
        options = shard_options(self.settings, group, rank=0)
        calls.controllable(VerifierActor).options(
            **options,
            name=name,
            namespace=names.NAMESPACE,
            lifetime="detached",
            max_restarts=replicas.restarts,
        ).remote(Order(index, self.settings, self._is_local))

    def _await_replica(self, index: int) -> ReplicaReport:
        ray, replicas, name = require_ray(), self.settings.replicas, names.verifier(index)
        group = ray.util.get_placement_group(names.group(name))
        if not group.wait(replicas.start_deadline_s):
            raise CapacityError(
                f"{name} found no place within {replicas.start_deadline_s:g} s: it asks for {replicas.shards} x {group.bundle_specs[0]} on "
                f"nodes with the labels {replicas.node_labels}. {calls.offered()} Add nodes, or ask for less in [replicas]."
            )
        report: ReplicaReport = calls.result(calls.call(name, "ready"), replicas.start_deadline_s, name)
        return report

    def _start_device(self, index: int) -> None:
        devices = self.settings.devices
        calls.controllable(DeviceActor).options(
            name=names.device(index),
            namespace=names.NAMESPACE,
            lifetime="detached",
            num_cpus=devices.cpus,
            num_gpus=devices.gpus,
            resources=devices.resources,
            label_selector=devices.node_labels or None,
            max_restarts=devices.restarts,
            max_pending_calls=devices.waiting,
            max_task_retries=devices.restarts,  # a response that is asked for again is the same text
        ).remote(Order(index, self.settings, self._is_local))

    def _await_device(self, index: int) -> DeviceReport:
        devices, name = self.settings.devices, names.device(index)
        try:
            report: DeviceReport = calls.result(calls.call(name, "ready"), devices.start_deadline_s, name)
        except DeadlineError as error:
            raise CapacityError(
                f"{error.message} It asks for {devices.cpus:g} CPUs, {devices.gpus:g} GPUs and {devices.resources} on a node with the "
                f"labels {devices.node_labels}. {calls.offered()} Add nodes, or ask for less in [devices]."
            ) from error
        return report

    def _stop(self, actors: Sequence[str]) -> None:
        """Ask all to stop, give them a moment, and kill them."""
        ray = require_ray()
        stopping = [call for name in actors if (call := calls.call(name, "stop")) is not None]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=STOP_S)
        calls.kill(actors)


def _serves(report: ReplicaReport) -> str:
    return f"{report.name} serves {report.served.model} at {report.address}"


def _is_there(report: DeviceReport) -> str:
    return f"{report.name} drafts with {report.drafter} behind {report.link}"
