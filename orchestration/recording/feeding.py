"""Long stretches of tokens fed into one slot of a target, in forwards as large as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cloud.seams import Block, Rows, Target

FED_ROWS = 256  # of one forward
ASKED_ROWS = 64  # of one forward when rows are asked for: each is as wide as the vocabulary


def prefill(target: Target, slot: int, position: int, tokens: Sequence[int]) -> None:
    """Feed tokens from absolute `position` on, and ask for nothing."""
    for start in range(0, len(tokens), FED_ROWS):
        target.forward([Block(slot, position + start, tuple(tokens[start : start + FED_ROWS]), 0)])


def read(target: Target, slot: int, position: int, tokens: Sequence[int]) -> Iterator[Rows]:
    """Feed tokens from absolute `position` on; the rows after every one of them, a piece at a time."""
    for start in range(0, len(tokens), ASKED_ROWS):
        piece = tuple(tokens[start : start + ASKED_ROWS])
        yield target.forward([Block(slot, position + start, piece, len(piece))])[0]
