"""From a model folder to a sharded target: what each of its processes calls, once, with its own rank."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from airdraft.errors import AirdraftError, ModelError, SettingsError
from airdraft.settings import ModelSettings
from cloud.shards.division import check_division
from cloud.shards.group import Meeting, Membership, ShardGroup
from cloud.shards.loading import load_shard
from cloud.shards.target import ShardedTarget
from cloud.shards.worker import ShardWorker
from cloud.target import TransformersTarget


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, the same for all members of a group."""

    folder: Path
    model: ModelSettings  # dtype and device; its threads are overruled by the membership's
    slots: int
    capacity: int  # tokens per slot


def open_sharded_target(serving: Serving, membership: Membership, meeting: Meeting | None = None) -> ShardedTarget:
    """Rank 0: join, load, wait until all have loaded. The other members call `serve_shard`.

    Raises SettingsError for a model that cannot be cut into so many shards (before anything is loaded or joined), ModelError when a member
    could not load its part, UnavailableError when one did not come in time.
    """
    if membership.rank != 0:
        raise SettingsError(f"rank {membership.rank} cannot open the target; rank 0 does, the others serve their shard")
    group, part = _open_part(serving, membership, meeting)
    return ShardedTarget(group, part)


def serve_shard(serving: Serving, membership: Membership) -> None:
    """Any other rank: join, load, and work until rank 0 closes the target. Raises as `open_sharded_target`, then as `ShardWorker.run`."""
    if membership.rank == 0:
        raise SettingsError("rank 0 opens the target; only the other ranks serve a shard")
    group, part = _open_part(serving, membership, None)
    ShardWorker(group, part).run()


def _open_part(serving: Serving, membership: Membership, meeting: Meeting | None) -> tuple[ShardGroup, TransformersTarget]:
    check_division(serving.folder, membership.shards)
    group = ShardGroup.join(membership, meeting)
    try:
        part = _load(serving, group)
        group.report_ready()
    except BaseException:
        group.leave()
        raise
    return group, part


def _load(serving: Serving, group: ShardGroup) -> TransformersTarget:
    try:
        return TransformersTarget(load_shard(serving.folder, serving.model, group), serving.slots, serving.capacity)
    except AirdraftError as error:
        _tell(group, error)
        raise
    except Exception as error:
        fault = ModelError(f"{serving.folder} could not be loaded: {error!r}")
        _tell(group, fault)
        raise fault from error


def _tell(group: ShardGroup, fault: AirdraftError) -> None:
    with contextlib.suppress(AirdraftError):  # the fault itself matters more than that nobody heard of it
        group.report_ready(fault)
