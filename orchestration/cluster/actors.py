"""The Ray actors: shells that start the plain classes on their nodes, and restart them by dying. Ray is imported late."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airdraft.errors import AirdraftError, UnavailableError
from airdraft.messages import Contract
from edge.seams import Token
from edge.settings import DeviceSettings
from edge.statistics import ResponseStatistics
from orchestration import assembly
from orchestration.assembly import Cloud
from orchestration.cluster import names
from orchestration.cluster.device import Answered, Behind, ClusterDevice, DevicePlan
from orchestration.cluster.gauges import RayGauges
from orchestration.cluster.loop_thread import LoopThread
from orchestration.cluster.replica import Replica, ReplicaPlan, Watch
from orchestration.cluster.reports import DeviceReport, ReplicaReport
from orchestration.cluster.settings import ClusterSettings

if TYPE_CHECKING:
    from orchestration.cluster.sharding import ShardOrder

LOOPBACK = "127.0.0.1"
STOP_S = 15.0
OWN_WORDS_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """Which of its kind an actor is. `is_local`: all of the cluster is on one machine, and serves that machine only."""

    index: int
    settings: ClusterSettings
    is_local: bool


class RayDesk:
    """The directory's actor, as replicas and devices reach it; metrics are set once it has been told."""

    def __init__(self) -> None:
        self._gauges = RayGauges()

    async def report_replica(self, report: ReplicaReport) -> Sequence[str]:
        """Tell, and hear who serves."""
        others: Sequence[str] = await _directory().report_replica.remote(report)
        self._gauges.set_replica(report)
        return others

    async def report_device(self, report: DeviceReport) -> None:
        """Tell."""
        await _directory().report_device.remote(report)
        self._gauges.set_device(report)

    async def assign(self) -> Sequence[str]:
        """Ask where a response shall go. Raises UnavailableError when there is nobody to ask."""
        try:
            return await _directory().assign.remote()  # type: ignore[no-any-return]  # Ray's handles have no types
        except Exception as error:
            raise UnavailableError(f"the cluster's directory cannot be asked: {error!r}. It is started again; try later.") from error


class VerifierActor:
    """Rank 0 of one replica: sessions, batcher, server; the other shards are its children and end with it."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._name = names.verifier(order.index)
        self._host = LOOPBACK if order.is_local else _node_address()
        self._group = _current_group()
        self._shards: list[Any] = []
        self._shard_process_ids: tuple[int, ...] = ()
        self._fault: AirdraftError | None = None
        self._loop = LoopThread(self._name)
        cloud = order.settings.cloud(order.index, self._host)
        plan = ReplicaPlan(
            self._name, cloud, _advertised(cloud.server.host, self._host), _node(), order.settings.replicas.shards, order.settings.report_s
        )
        watch = Watch(lambda: self._fault, _die, lambda: self._shard_process_ids)
        self._replica = Replica(plan, lambda: self._build(plan), RayDesk().report_replica, watch)
        self._starting = self._loop.start(self._replica.start())
        _die_if_it_cannot_start_again(self._starting)

    def ready(self) -> ReplicaReport:
        """Once it serves. Raises what kept it from serving."""
        return self._starting.result()

    def drain(self, grace_s: float) -> None:
        """Take nobody new, and return once all streams have ended or moved."""
        self._loop.run(self._replica.drain(grace_s))

    def stop(self) -> None:
        """End in good order, for as long as that may take."""
        self._loop.run(self._replica.stop(), STOP_S)

    def _build(self, plan: ReplicaPlan) -> Cloud:
        if plan.shards == 1:
            return assembly.build_cloud(plan.settings)
        from orchestration.cluster.sharding import Rank0  # here, since it loads torch, which devices and commands can do without

        rank0 = Rank0(self._order.settings.replicas, self._host, self._start_shard)
        return assembly.build_cloud(plan.settings, open_target=rank0.open)

    def _start_shard(self, order: ShardOrder) -> None:
        import ray

        rank = order.membership.rank
        actor = ray.remote(ShardActor).options(**shard_options(self._order.settings, self._group, rank), max_concurrency=2)
        shard = actor.remote()
        self._shards.append(shard)
        threading.Thread(target=self._follow, args=(shard, order), name=f"shard-{rank}", daemon=True).start()

    def _follow(self, shard: Any, order: ShardOrder) -> None:
        """Wait for a shard's end, which is this replica's end as well."""
        import ray

        try:
            self._shard_process_ids += (ray.get(shard.process_id.remote()),)
            ray.get(shard.serve.remote(order))
            what = "has ended"
        except Exception as error:
            what = f"has failed: {str(error).splitlines()[0]}"
        self._fault = UnavailableError(f"shard {order.membership.rank} of {self._name} {what}. The replica is started again.")
        if wait({self._starting}, OWN_WORDS_S).not_done:
            _die(self._fault)  # rank 0 would wait in vain; a shard that could not load has told it so itself, in better words


class ShardActor:
    """Any other shard."""

    def process_id(self) -> int:
        """Of the process that holds it."""
        return os.getpid()

    def serve(self, order: ShardOrder) -> None:
        """Serve until rank 0 ends it."""
        from orchestration.cluster import sharding  # here for the same reason

        sharding.serve(order)


class DeviceActor:
    """One device: its drafter is loaded on a thread while the actor is already there."""

    def __init__(self, order: Order) -> None:
        settings, name = order.settings, names.device(order.index)
        self._loop = LoopThread(name)
        self._plan = DevicePlan(
            name=name,
            settings=settings.device,
            node=_node(),
            link=settings.devices.link(order.index),
            is_tls=settings.server.certificate_chain is not None,
            root_certificates=settings.devices.root_certificates,
            report_s=settings.report_s,
        )
        self._device: ClusterDevice | None = None
        self._starting = self._loop.start(self._start())
        _die_if_it_cannot_start_again(self._starting)

    def ready(self) -> DeviceReport:
        """Once it can answer. Raises what kept it from that."""
        return self._starting.result()

    def answer(self, contract: Contract, settings: DeviceSettings | None = None, behind: Behind | None = None) -> Answered:
        """One whole response."""
        return self._loop.run(self._started().answer(contract, settings, behind))

    def stream(self, contract: Contract, settings: DeviceSettings | None = None) -> Iterator[Token]:
        """One response's tokens as they come."""
        yield from self._loop.iterate(self._started().stream(contract, settings))

    def last(self) -> ResponseStatistics:
        """What the last response cost."""
        return self._started().last

    def hang_up(self) -> None:
        """End the response at work after its next token."""
        self._started().hang_up()

    def stop(self) -> None:
        """Hang up, and end."""
        self._loop.run(self._started().stop(), STOP_S)

    async def _start(self) -> DeviceReport:
        loaded = await asyncio.to_thread(assembly.load_drafter, self._plan.settings.drafter)
        self._device = ClusterDevice(self._plan, loaded.drafter, RayDesk())
        return await self._device.start()

    def _started(self) -> ClusterDevice:
        self._starting.result()
        assert self._device is not None
        return self._device


def shard_options(settings: ClusterSettings, group: Any, rank: int) -> dict[str, Any]:
    """How one shard's actor is placed: in its bundle of the replica's placement group, with that bundle's resources."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    replicas = settings.replicas
    return {
        "num_cpus": replicas.cpus,
        "num_gpus": replicas.gpus,
        "resources": replicas.resources,
        "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
    }


def _directory() -> Any:
    import ray

    return ray.get_actor(names.DIRECTORY, names.NAMESPACE)


def _node_address() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _node() -> str:
    """The node's address and the first letters of its id: two nodes may share an address."""
    import ray

    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:6]})"


def _current_group() -> Any:
    import ray

    return ray.util.get_current_placement_group()


def _advertised(bound: str, host: str) -> str:
    """Where devices reach a server that is bound to this address."""
    return host if bound in ("0.0.0.0", "::", "[::]") else bound


def _die(fault: AirdraftError) -> None:
    """End this process, so that Ray starts the actor again, or gives it up once its restarts are used up."""
    print(fault.message, flush=True)
    os._exit(1)


def _die_if_it_cannot_start_again(starting: Future[Any]) -> None:
    """The first time, whoever waits for the start hears why it failed. After a restart nobody waits: try again, within the budget."""
    import ray

    if not ray.get_runtime_context().was_current_actor_reconstructed:
        return

    def check(done: Future[Any]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            _die(UnavailableError(f"could not be started again: {error!r}"))

    starting.add_done_callback(check)
