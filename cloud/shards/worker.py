"""A shard that is not rank 0: it waits for commands, runs the same forward on its part, and ends when it is told to or rank 0 is gone.

What its blocks belong to is unknown here; the rows that it computes on the way are rank 0's to use.
"""

from __future__ import annotations

import numpy as np
import torch

from airdraft.errors import InternalError
from cloud.seams import Target
from cloud.shards.command import FRAME_WORDS, SEQUENCE_MASK, Command, Kind, decode
from cloud.shards.group import ShardGroup


class ShardWorker:
    """The loop of one shard over its `part` of the target."""

    def __init__(self, group: ShardGroup, part: Target) -> None:
        self._group, self._part = group, part
        self._frame = torch.zeros(FRAME_WORDS, dtype=torch.int32)
        self._sequence = 0
        self.forwards = 0

    def run(self) -> None:
        """Obey until told to stop; then return, having left the group.

        Raises UnavailableError when rank 0 has ended or was silent for the group's `timeout_s`, and whatever a forward raises. It leaves
        the group in either case, so that the others fail at once.
        """
        try:
            while (command := self._next()).kind is not Kind.STOP:
                self._obey(command)
        finally:
            self._group.leave()

    def _next(self) -> Command:
        self._group.broadcast(self._frame)
        command = decode(np.asarray(self._frame))
        self._sequence = (self._sequence + 1) & SEQUENCE_MASK
        if command.sequence != self._sequence:
            raise InternalError(f"command {command.sequence} came where {self._sequence} was due; the group is out of step")
        return command

    def _obey(self, command: Command) -> None:
        if command.kind is Kind.FORWARD:
            self._part.forward(command.blocks)
            self.forwards += 1
        else:
            self._group.collect(torch.tensor([command.sequence], dtype=torch.int32))
