"""Drafts without a model: what followed the last tokens when they stood in the text before.

Finds the longest run of up to `max_ngram` last tokens that occurred earlier, takes its most recent earlier occurrence, and proposes the
token after it (prompt lookup decoding, Saxena 2023). Whether that is likely, it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

from airdraft import quantised_row
from airdraft.errors import InternalError
from airdraft.messages import Contract
from edge.seams import DraftStep


class PromptLookup:
    """Keeps, for each run of 1 … `max_ngram` tokens, where in the context it has ended; a step is one look-up per length."""

    forward_calls = 0

    def __init__(self, max_ngram: int = 4) -> None:
        self._lengths = range(max_ngram, 0, -1)
        self._rows_wanted = False
        self._context: list[int] = []
        self._ends: dict[tuple[int, ...], list[int]] = {}  # run → positions just after it, ascending

    def begin(self, contract: Contract, rows_wanted: bool) -> None:
        """Start a response with nothing but the prompt as context."""
        self._rows_wanted = rows_wanted
        self._context, self._ends = [], {}
        self.extend(contract.prompt)

    @property
    def length(self) -> int:
        """Tokens of context, its own proposals included."""
        return len(self._context)

    @property
    def pending(self) -> int:
        """Nothing is ever fed to a model; a step costs as if one token were."""
        return 1

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens and note the runs that end with each."""
        for token in tokens:
            self._context.append(token)
            end = len(self._context)
            for run in self._runs(end):
                self._ends.setdefault(run, []).append(end)

    def step(self) -> DraftStep | None:
        """Propose the token that followed the longest run found earlier; None when not even the last token occurred before."""
        position = len(self._context)
        for run in self._runs(position):
            ends = self._ends[run]
            if len(ends) > 1:  # the last one is the end of the context itself
                token = self._context[ends[-2]]
                self.extend((token,))
                return DraftStep(token, position, row=quantised_row.certain(token) if self._rows_wanted else None)
        return None

    def roll_back(self, length: int) -> None:
        """Keep only the first `length` tokens."""
        if not 0 <= length <= len(self._context):
            raise InternalError(f"a drafter with {len(self._context)} tokens of context cannot roll back to {length}.")
        for end in range(len(self._context), length, -1):
            for run in self._runs(end):
                ends = self._ends[run]
                ends.pop()
                if not ends:
                    del self._ends[run]
        del self._context[length:]

    def _runs(self, end: int) -> list[tuple[int, ...]]:
        """The runs that end at `end`, longest first."""
        return [tuple(self._context[end - length : end]) for length in self._lengths if length <= end]
