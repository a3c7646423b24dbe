"""What a drafter has in its context and how much of that its model has been fed: lengths as `edge.drafters.CausalModel` keeps them.

So a drafter built on it costs, step by step, what the live one costs.
"""

from __future__ import annotations

from collections.abc import Sequence

from airdraft.errors import InternalError
from cloud.slots import shared_length


class Context:
    """Tokens, the first `fed` of which are in the model's cache."""

    __slots__ = ("fed", "tokens")

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.fed = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def begin(self, prompt: Sequence[int]) -> int:
        """Start from a prompt; answers with how much of it the old context shared."""
        shared = shared_length(self.tokens, prompt)
        self.tokens = list(prompt)
        self.fed = min(self.fed, shared)
        return shared

    @property
    def pending(self) -> int:
        """Tokens that the next step will feed."""
        return max(len(self.tokens) - self.fed, 1)

    def extend(self, tokens: Sequence[int]) -> None:
        """Append committed tokens."""
        self.tokens.extend(tokens)

    def feed(self) -> list[int]:
        """The tokens to feed now, the last ones of the context, so that the row after them can be had."""
        start = min(self.fed, len(self.tokens) - 1)
        self.fed = len(self.tokens)
        return self.tokens[start:]

    def roll_back(self, length: int) -> None:
        """Keep only the first `length` tokens. Raises InternalError for a length that the context never had."""
        if not 0 <= length <= len(self.tokens):
            raise InternalError(f"a drafter with {len(self.tokens)} tokens of context cannot roll back to {length}.")
        del self.tokens[length:]
        self.fed = min(self.fed, length)
