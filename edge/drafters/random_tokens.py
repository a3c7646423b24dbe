"""The worst drafter that obeys the rules: tokens drawn blindly from the vocabulary. For tests, and to see what a bad drafter costs."""

from __future__ import annotations

import random
from collections.abc import Sequence

from airdraft import quantised_row
from airdraft.errors import InternalError
from airdraft.messages import Contract
from edge.seams import DraftStep


class RandomTokens:
    """A proposal is a function of the seed and its position alone, so a draft made again is the same draft."""

    forward_calls = 0

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._vocabulary_size = 1
        self._rows_wanted = False
        self._length = 0

    def begin(self, contract: Contract, rows_wanted: bool) -> None:
        """Start a response: only the prompt's length and the size of the vocabulary matter."""
        self._vocabulary_size = contract.vocabulary_size
        self._rows_wanted = rows_wanted
        self._length = len(contract.prompt)

    @property
    def length(self) -> int:
        """Tokens of context, its own proposals included."""
        return self._length

    @property
    def pending(self) -> int:
        """Nothing is ever fed to a model; a step costs as if one token were."""
        return 1

    def extend(self, tokens: Sequence[int]) -> None:
        """Count committed tokens."""
        self._length += len(tokens)

    def step(self) -> DraftStep | None:
        """Propose any token; with rows wanted, its row is the certainty of that token, since the draw used nothing of the target's."""
        position = self._length
        token = random.Random(f"{self._seed}:{position}").randrange(self._vocabulary_size)
        self._length += 1
        return DraftStep(token, position, row=quantised_row.certain(token) if self._rows_wanted else None)

    def roll_back(self, length: int) -> None:
        """Keep only the first `length` tokens."""
        if not 0 <= length <= self._length:
            raise InternalError(f"a drafter with {self._length} tokens of context cannot roll back to {length}.")
        self._length = length
