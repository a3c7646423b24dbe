"""The command frame: what is encoded comes back, and what nobody encoded is refused."""

from __future__ import annotations

import numpy as np
import pytest

from airdraft.errors import InternalError
from cloud.seams import Block
from cloud.shards.command import FRAME_WORDS, Command, Kind, decode, encode
from cloud.target import ROW_LIMIT

BLOCKS = (Block(3, 1000, (7, 8, 9), 2), Block(0, 0, (150_000,), 0))


@pytest.mark.parametrize(
    "command",
    [
        Command(Kind.FORWARD, 1, BLOCKS),
        Command(Kind.HEARTBEAT, 2),
        Command(Kind.STOP, 0x7FFF_FFFF),
        Command(Kind.FORWARD, 3, (Block(0, 0, tuple(range(ROW_LIMIT)), ROW_LIMIT),)),
        Command(Kind.FORWARD, 4, tuple(Block(slot, slot, (slot,), 1) for slot in range(ROW_LIMIT))),
    ],
    ids=["two blocks", "heartbeat", "stop", "one block of all rows", "as many blocks as rows"],
)
def test_a_command_comes_back_from_its_frame(command):
    frame = encode(command)
    assert frame.shape == (FRAME_WORDS,)
    assert frame.dtype == np.int32
    assert decode(frame) == command


def test_a_frame_stays_small():
    assert encode(Command(Kind.FORWARD, 1, BLOCKS)).nbytes <= 12 * 1024


def test_the_count_of_commands_wraps_round():
    assert decode(encode(Command(Kind.HEARTBEAT, 0x8000_0001))).sequence == 1


@pytest.mark.parametrize(
    ("word", "value"),
    [(0, 0), (0, 99), (2, -1), (2, 600), (2, 3), (3, -1), (3, FRAME_WORDS), (3, 3), (6, -1), (6, 2)],
)
def test_a_frame_that_is_no_command_is_refused(word, value):
    frame = encode(Command(Kind.FORWARD, 1, BLOCKS))
    frame[word] = value
    with pytest.raises(InternalError, match="out of step"):
        decode(frame)


def test_more_than_a_frame_holds_is_refused():
    with pytest.raises(InternalError, match="holds"):
        encode(Command(Kind.FORWARD, 1, tuple(Block(slot, 0, (1,), 1) for slot in range(ROW_LIMIT + 1))))
