"""A drafter over the batch-invariant forward: what it proposes is a pure function of the text, which is what makes it recordable.

`edge.drafters.CausalModel` is faster but not that: its last bits depend on how its cache was filled, and now and then they decide a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from airdraft import noise, quantised_row, rules, sampling
from airdraft.messages import Contract, QuantisedRow
from airdraft.noise import Purpose
from airdraft.settings import Sampling
from cloud.seams import Block, Target
from edge.seams import DraftStep
from orchestration.recording.context import Context
from orchestration.recording.feeding import prefill


class InvariantDrafter:
    """Drafts with a small model that is wrapped as a `Target`, in its slot 0."""

    def __init__(self, model: Target) -> None:
        self.forward_calls = 0
        self._model = model
        self._context = Context()
        self._vocabulary_size = model.vocabulary_size
        self._sampling = Sampling()
        self._row_width = 0

    def begin(self, contract: Contract, rows_wanted: bool) -> None:
        """Start a response: the slot keeps what the old context shares with the prompt."""
        self._context.begin(contract.prompt)
        self._vocabulary_size = contract.vocabulary_size
        self._sampling = contract.sampling
        self._row_width = rules.row_width(contract.rule) if rows_wanted else 0

    @property
    def length(self) -> int:
        """Tokens of context, its own proposals included."""
        return len(self._context)

    @property
    def pending(self) -> int:
        """Tokens that the next step will feed."""
        return self._context.pending

    def extend(self, tokens: Sequence[int]) -> None:
        """Append committed tokens."""
        self._context.extend(tokens)

    def step(self) -> DraftStep | None:
        """Propose one token; None with no context, or once the slot is full."""
        position = len(self._context)
        if not 0 < position < self._model.capacity:
            return None
        fed = self._context.feed()
        start = position - len(fed)
        prefill(self._model, 0, start, fed[:-1])
        logits = self._model.forward([Block(0, position - 1, (fed[-1],), 1)])[0].logits[0, : self._vocabulary_size]
        self.forward_calls += 1
        token, row = self._draw(logits, position)
        self._context.extend((token,))
        return DraftStep(token, position, logits, row)

    def roll_back(self, length: int) -> None:
        """Keep only the first `length` tokens."""
        self._context.roll_back(length)

    def _draw(self, logits: np.ndarray, position: int) -> tuple[int, QuantisedRow | None]:
        if not self._row_width:
            return sampling.token(logits, self._sampling, position), None
        row = quantised_row.quantise(sampling.warped(logits, self._sampling), self._row_width)
        return quantised_row.draw(row, noise.key(self._sampling.seed, position, Purpose.DRAFT)), row
