"""The cloud's seams: the target that turns blocks of tokens into rows, and the rule that judges a draft by those rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from airdraft import sampling as draws
from airdraft.messages import ChannelState, QuantisedRow
from airdraft.settings import Sampling


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens [n] of one sequence at absolute positions `position` … `position + n - 1`, to be fed into cache slot `slot`.

    The slot must already hold positions 0 … position - 1. `wanted`: for how many of its last tokens rows are asked (0 while prefilling).
    """

    slot: int
    position: int
    tokens: tuple[int, ...]
    wanted: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The target's view after each of the last m = `wanted` tokens of a block.

    `logits` [m, V] float32: row i predicts the token after input i. `hidden` [m, d] float32 (final norm), read under its two names below,
    because the field uses both and mixing them up by one position is the classic fault.
    """

    logits: np.ndarray
    hidden: np.ndarray

    @property
    def count(self) -> int:
        """m."""
        return int(self.logits.shape[0])

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return int(self.logits.shape[1])

    def token(self, index: int, sampling: Sampling, position: int) -> int:
        """The target's own token at absolute `position`, by row `index`. Rows of a target without logits (a recording) override it."""
        return draws.token(self.logits[index], sampling, position)

    @property
    def hidden_predicting(self) -> np.ndarray:
        """[m, d]: row i is the state that predicts what row i of the logits predicts."""
        return self.hidden

    @property
    def hidden_after(self) -> np.ndarray:
        """[m - 1, d]: row i is the state after consuming draft token i + 1 (the block's first input is the last committed token)."""
        return self.hidden[1:]


class Target(Protocol):
    """The large model over a slotted cache. A row is bitwise the same whatever else the call holds (the batch-invariant forward)."""

    @property
    def vocabulary_size(self) -> int:
        """V, the width of its logits."""
        ...

    @property
    def slots(self) -> int:
        """Sequences that the cache can hold at once."""
        ...

    @property
    def capacity(self) -> int:
        """Tokens that one slot can hold."""
        ...

    def forward(self, blocks: Sequence[Block]) -> list[Rows]:
        """Feed the blocks (at most one per slot) in one forward; their keys and values overwrite what the slots held from there on."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What a rule is asked: a draft, the target's rows for it, and all else that a rule may read."""

    position: int  # absolute position of the first draft token
    tokens: tuple[int, ...]  # [k]
    rows: Rows  # m = k + 1: row i predicts position + i
    sampling: Sampling
    channel: ChannelState | None
    draft_rows: tuple[QuantisedRow, ...]  # [k] when the rule needs them, else empty


@dataclass(frozen=True, slots=True)
class Judgement:
    """The first `accepted` draft tokens stand; `token` is the target's after them."""

    accepted: int
    token: int


class AcceptanceRule(Protocol):
    """Judges drafts. Stateless between sessions; built from the contract's parameters by `cloud.acceptance.build`."""

    name: ClassVar[str]
    needs_rows: ClassVar[bool]  # whether drafts must carry the rows they were drawn from

    def judge(self, question: Question) -> Judgement:
        """How much of the draft stands, and the token after it."""
        ...
