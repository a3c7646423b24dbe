"""The target cut over several processes: each holds its part of every layer and of the cache, and rank 0 stands for all of them.

Read `target` first. Who starts the processes, and who starts them again, is decided elsewhere; Ray is unknown here.
"""

from cloud.shards.division import check_division, working_sizes
from cloud.shards.group import Meeting, Membership, ShardGroup
from cloud.shards.opening import Serving, open_sharded_target, serve_shard
from cloud.shards.target import ShardedTarget
from cloud.shards.worker import ShardWorker

__all__ = [
    "Meeting",
    "Membership",
    "Serving",
    "ShardGroup",
    "ShardWorker",
    "ShardedTarget",
    "check_division",
    "open_sharded_target",
    "serve_shard",
    "working_sizes",
]
