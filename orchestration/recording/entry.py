"""One prompt's record: the target's response, and from every position of it what the drafter would draft.

Until its first miss a draft follows the response, and what comes after a miss depends only on where it was missed. So one row of the
drafter per position and one continuation per miss describe the drafts from all positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from airdraft.errors import InternalError, SettingsError
from airdraft.messages import Finish
from edge.certainty import Certainty

COLUMNS = ("probability", "entropy", "first", "second")
Tokens = NDArray[np.uint32]
Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Tokens uint32 [n] and how sure their model was of each: columns float16 [n], as `edge.certainty.Certainty` names them."""

    tokens: Tokens
    probability: Halves
    entropy: Halves
    first: Halves
    second: Halves

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, start: int, stop: int) -> Predictions:
        """Rows `start` … `stop - 1`."""
        return Predictions(self.tokens[start:stop], *(getattr(self, name)[start:stop] for name in COLUMNS))

    def certainty(self, row: int) -> Certainty:
        """The figures of one row."""
        return Certainty(*(float(getattr(self, name)[row]) for name in COLUMNS))


def gather(pairs: Iterable[tuple[int, Certainty]]) -> Predictions:
    """Columns from tokens and their figures, in order."""
    rows = [(token, sure.probability, sure.entropy, sure.first, sure.second) for token, sure in pairs]
    tokens = np.array([row[0] for row in rows], dtype=np.uint32)
    return Predictions(tokens, *(np.array([row[place] for row in rows], dtype=np.float16) for place in range(1, 5)))


def join(parts: Iterable[Predictions]) -> Predictions:
    """The rows of all parts, one after the other."""
    listed = [gather(()), *parts]
    columns = (np.concatenate([getattr(part, name) for part in listed]) for name in COLUMNS)
    return Predictions(np.concatenate([part.tokens for part in listed]), *columns)


@dataclass(frozen=True, eq=False)
class Entry:
    """What was recorded for one prompt. n response tokens; positions are absolute: 0 is the prompt's first token.

    `target`: row i is response token i. `drafter`: row i is what the drafter proposes after the prompt and i response tokens.
    `continuations`: for each miss (where the two differ), in order, what the drafter proposes after its own wrong token;
    `continuation_lengths` of them each. A continuation ends with a stop token, or when the whole draft is as long as recordings go.
    """

    name: str
    task: str
    prompt: tuple[int, ...]
    finish: Finish
    target: Predictions
    drafter: Predictions
    continuations: Predictions
    continuation_lengths: tuple[int, ...]

    @cached_property
    def response(self) -> tuple[int, ...]:
        """The target's tokens [n]."""
        return tuple(self.target.tokens.tolist())

    @cached_property
    def text(self) -> tuple[int, ...]:
        """Prompt and response."""
        return self.prompt + self.response

    @cached_property
    def misses(self) -> tuple[int, ...]:
        """Rows of `drafter`, ascending, whose token is not the target's."""
        return misses(self.target, self.drafter)

    @cached_property
    def continuation_starts(self) -> tuple[int, ...]:
        """Where each miss's continuation begins in `continuations`."""
        ends = np.cumsum((0, *self.continuation_lengths))
        return tuple(ends[:-1].tolist())

    def continuation(self, number: int) -> Predictions:
        """What follows the miss of that number."""
        start = self.continuation_starts[number]
        return self.continuations.part(start, start + self.continuation_lengths[number])

    def draft_from(self, position: int, length: int) -> Predictions:
        """The first `length` tokens that the drafter drafts after the text's first `position` tokens.

        Fewer when the record ends before: at the response's end, or at a continuation's. Raises InternalError for a position outside the
        response.
        """
        start = position - len(self.prompt)
        if not 0 <= start < len(self.drafter):
            raise InternalError(
                f"a draft from position {position}; the recorded response covers {len(self.prompt)} to {len(self.text) - 1}."
            )
        number = int(np.searchsorted(np.array(self.misses), start))
        if number == len(self.misses):
            return self.drafter.part(start, start + length)
        until_miss = self.drafter.part(start, self.misses[number] + 1)
        if length <= len(until_miss):
            return until_miss.part(0, length)
        return join((until_miss, self.continuation(number).part(0, length - len(until_miss))))

    def check(self, vocabulary_size: int) -> None:
        """Raises SettingsError when the parts do not fit together, as in a damaged file."""
        count = len(self.target)
        faults = {
            "no prompt": not self.prompt,
            "no response": count == 0,
            "rows of the drafter": len(self.drafter) != count,
            "continuations": len(self.continuation_lengths) != len(self.misses),
            "continued tokens": sum(self.continuation_lengths) != len(self.continuations),
            "token ids": any(_highest(part.tokens) >= vocabulary_size for part in (self.target, self.drafter, self.continuations))
            or max(self.prompt, default=0) >= vocabulary_size,
        }
        wrong = [name for name, is_wrong in faults.items() if is_wrong]
        if wrong:
            raise SettingsError(f"the recording of {self.name!r} is damaged ({', '.join(wrong)}). Get or make it again.")


def misses(target: Predictions, drafter: Predictions) -> tuple[int, ...]:
    """Rows, ascending, where the drafter's token is not the target's. None when the two have different lengths."""
    if len(target) != len(drafter):
        return ()
    return tuple(np.flatnonzero(target.tokens != drafter.tokens).tolist())


def _highest(tokens: Tokens) -> int:
    return int(tokens.max()) if len(tokens) else 0
