"""The target over several processes, as rank 0 sees it: a `Target` like any other, whose forward also sets the other shards to work.

Nothing above it knows that there are shards. A forward costs one broadcast of a small command; weights and caches never travel.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import torch

from airdraft.errors import AirdraftError, UnavailableError
from cloud.seams import Block, Rows, Target
from cloud.shards.command import Command, Kind, encode
from cloud.shards.group import ShardGroup
from cloud.target import check_blocks

BEATS_PER_TIMEOUT = 3  # heartbeats in the time after which a silent rank 0 counts as dead

logger = logging.getLogger(__name__)


class ShardedTarget:
    """Rank 0 of a group, over its own `part`. The other members run a `ShardWorker`. Close it, so that they end in good order.

    A group that has failed once stays failed: `failure` says how, and every forward raises it. Whoever started the processes starts
    them anew. Forwards may come from any thread, one at a time.
    """

    def __init__(self, group: ShardGroup, part: Target) -> None:
        self.group, self._part = group, part
        self._turn = threading.Lock()
        self._sequence = 0
        self._ended = threading.Event()
        self._used = False  # since the last heartbeat
        self.failure: UnavailableError | None = None
        self._heart = threading.Thread(target=self._beat, name="shards-heartbeat", daemon=True)
        self._heart.start()

    @property
    def vocabulary_size(self) -> int:
        """Width of a row of logits."""
        return self._part.vocabulary_size

    @property
    def slots(self) -> int:
        """Sequences that the cache can hold at once."""
        return self._part.slots

    @property
    def capacity(self) -> int:
        """Tokens that one slot can hold."""
        return self._part.capacity

    @property
    def shards(self) -> int:
        """How many processes share the work."""
        return self.group.shards

    def forward(self, blocks: Sequence[Block]) -> list[Rows]:
        """Feed the blocks in one forward of all shards.

        Raises InternalError for blocks that do not fit (the group is unharmed), UnavailableError when a shard has died, failed or been
        silent for the group's `timeout_s`, and at every later call.
        """
        check_blocks(blocks, self)
        with self._turn:
            self._refuse_when_over()
            try:
                self._command(Kind.FORWARD, blocks)
                rows = self._part.forward(blocks)
            except Exception as error:
                raise self._fail(error) from error
            self._used = True
            return rows

    def wait_until_over(self, timeout_s: float) -> bool:
        """Whether the target failed or was closed within that time; `failure` then says which. For whoever starts the processes anew."""
        return self._ended.wait(timeout_s)

    def close(self) -> None:
        """Tell the other shards to end, and leave the group. May be called twice, and after a failure."""
        with self._turn:
            if self.failure is None:
                try:
                    self._command(Kind.STOP)
                except AirdraftError as error:
                    logger.warning("a shard was gone before it was told to stop: %s", error)
                self.failure = UnavailableError("this target has been closed; open a new one")
            self._ended.set()
            self.group.leave()
        if threading.current_thread() is not self._heart:
            self._heart.join(self.group.membership.timeout_s)

    def _command(self, kind: Kind, blocks: Sequence[Block] = ()) -> None:
        self._sequence += 1
        self.group.broadcast(torch.from_numpy(encode(Command(kind, self._sequence, tuple(blocks)))))

    def _beat(self) -> None:
        """Keep idle shards from giving rank 0 up, and notice a dead one before a session does."""
        interval_s = self.group.membership.timeout_s / BEATS_PER_TIMEOUT
        while not self._ended.wait(interval_s):
            with self._turn:
                if self.failure is not None:
                    return
                if not self._used:
                    self._check_on_others()
                self._used = False

    def _check_on_others(self) -> None:
        try:
            self._command(Kind.HEARTBEAT)
            self.group.collect(torch.tensor([self._sequence], dtype=torch.int32))
        except Exception as error:
            logger.error("the shards have failed while idle: %s", self._fail(error))

    def _refuse_when_over(self) -> None:
        if self.failure is not None:
            raise _again(self.failure)

    def _fail(self, error: Exception) -> UnavailableError:
        """Remember the failure and leave, so that members that still wait fail now and not at their deadline; the error to raise."""
        what = error.message if isinstance(error, UnavailableError) else f"shard 0 failed: {error!r}. Start the group anew."
        self.failure = UnavailableError(f"the sharded target has failed. {what} Its sessions can be resumed afterwards, or elsewhere.")
        self._ended.set()
        self.group.leave()
        return _again(self.failure)


def _again(failure: UnavailableError) -> UnavailableError:
    """One to raise: the one that is kept must not gather the frames, and with them the tensors, of every raise."""
    return UnavailableError(failure.message)
