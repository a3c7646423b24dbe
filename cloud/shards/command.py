"""What rank 0 tells the other shards: one frame of fixed size, so that a command is exactly one broadcast. Pure: no process group here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from airdraft.errors import InternalError
from cloud.seams import Block
from cloud.target import ROW_LIMIT

HEADER_WORDS = 4  # kind, sequence, blocks, tokens
BLOCK_WORDS = 4  # slot, position, tokens, wanted
FRAME_WORDS = HEADER_WORDS + (BLOCK_WORDS + 1) * ROW_LIMIT  # a block has at least one token, so no forward needs more
SEQUENCE_MASK = 0x7FFF_FFFF


class Kind(IntEnum):
    """Feed blocks; answer with a sign of life; end in good order."""

    FORWARD = 1
    HEARTBEAT = 2
    STOP = 3


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `sequence` counts them from 1, so that a shard that missed one notices."""

    kind: Kind
    sequence: int
    blocks: tuple[Block, ...] = ()


def encode(command: Command) -> np.ndarray:
    """The frame [FRAME_WORDS] int32: header, then the blocks' headers, then their tokens; zeros to the end."""
    tokens = [token for block in command.blocks for token in block.tokens]
    heads = [word for block in command.blocks for word in (block.slot, block.position, len(block.tokens), block.wanted)]
    words = [int(command.kind), command.sequence & SEQUENCE_MASK, len(command.blocks), len(tokens), *heads, *tokens]
    if len(words) > FRAME_WORDS:
        raise InternalError(f"a command of {len(words)} words; a frame holds {FRAME_WORDS}")
    frame = np.zeros(FRAME_WORDS, np.int32)
    frame[: len(words)] = words
    return frame


def decode(frame: np.ndarray) -> Command:
    """The command in a frame. Raises InternalError for one that `encode` cannot have written."""
    kind, sequence, block_count, token_count = (int(word) for word in frame[:HEADER_WORDS])
    tokens_from = HEADER_WORDS + BLOCK_WORDS * block_count
    if kind not in Kind.__members__.values() or block_count < 0 or token_count < 0 or tokens_from + token_count > len(frame):
        raise InternalError(
            f"a frame that is no command (kind {kind}, {block_count} blocks, {token_count} tokens); the group is out of step"
        )
    heads = frame[HEADER_WORDS:tokens_from].reshape(block_count, BLOCK_WORDS).tolist()
    lengths = [head[2] for head in heads]
    if sum(lengths) != token_count or min(lengths, default=0) < 0:
        raise InternalError(f"a frame whose blocks of {lengths} tokens do not make {token_count}; the group is out of step")
    return Command(Kind(kind), sequence, _blocks(heads, frame[tokens_from : tokens_from + token_count].tolist()))


def _blocks(heads: Sequence[Sequence[int]], tokens: Sequence[int]) -> tuple[Block, ...]:
    blocks, begin = [], 0
    for slot, position, length, wanted in heads:
        blocks.append(Block(slot, position, tuple(tokens[begin : begin + length]), wanted))
        begin += length
    return tuple(blocks)
