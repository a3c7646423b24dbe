"""A verifier's target cut over several processes: rank 0's side, and what each of the others is told. Who starts them is a parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from airdraft import models
from airdraft.errors import SettingsError
from airdraft.settings import ModelSettings
from cloud.settings import VerifierSettings
from cloud.shards import Meeting, Membership, Serving, ShardedTarget, check_division, open_sharded_target, serve_shard
from orchestration.cluster.settings import ReplicasSettings


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """What one shard is to serve; plain values, since it runs elsewhere. It finds the model's folder on its own machine."""

    model: ModelSettings
    slots: int
    capacity: int
    membership: Membership

    def serving(self, folder: Path) -> Serving:
        """As the shards' own functions take it."""
        return Serving(folder, self.model, self.slots, self.capacity)


@dataclass(frozen=True, slots=True)
class Rank0:
    """How rank 0 opens the target: `host` is its own address for the others, `start_shard` has one of them started."""

    settings: ReplicasSettings
    host: str
    start_shard: Callable[[ShardOrder], None]

    def open(self, folder: Path, settings: VerifierSettings) -> ShardedTarget:
        """Have the others started, and wait until all have loaded. Raises as `open_sharded_target`."""
        if settings.model is None:
            raise SettingsError("no model to serve: set verifier.model.model.")
        check_division(folder, self.settings.shards)
        meeting = Meeting.host(self.host, start_timeout_s=self.settings.start_deadline_s)
        membership = Membership(
            rank=0,
            shards=self.settings.shards,
            address=meeting.address,
            backend=_backend(settings.model),
            timeout_s=self.settings.shard_deadline_s,
            start_timeout_s=self.settings.start_deadline_s,
            threads=settings.model.threads,
        )
        order = ShardOrder(settings.model, settings.slots, settings.context, membership)
        for rank in range(1, self.settings.shards):
            self.start_shard(replace(order, membership=replace(membership, rank=rank)))
        return open_sharded_target(order.serving(folder), membership, meeting)


def serve(order: ShardOrder) -> None:
    """Serve one shard until rank 0 ends it. Raises as `serve_shard`, and what finding the model raises."""
    serve_shard(order.serving(models.ensure(order.model.model)), order.membership)


def _backend(model: ModelSettings) -> Literal["gloo", "nccl"]:
    return "nccl" if model.device.startswith("cuda") else "gloo"
