"""Two phases that alternate, each time for a length of its own drawing. Any moment can be asked for, in any order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np

PERIOD_CYCLES = 2**15  # after so many turns through both phases the drawing repeats, which bounds memory and time

Draw = Callable[[np.random.Generator], tuple[float, float]]


class Sojourns:
    """`draw` gives how long the first and the second phase of one cycle last, in seconds; neither may be negative, nor both 0."""

    def __init__(self, draw: Draw, seed: tuple[int, ...]) -> None:
        self._draw = draw
        self._random = np.random.default_rng(seed)
        self._ends_s: list[float] = []  # of first, second, first, …
        self._now_s = 0.0

    def at(self, at_s: float) -> tuple[bool, float]:
        """Whether `at_s` falls into the second phase, and when that phase ends."""
        at_s = max(at_s, 0.0)
        while at_s >= self._now_s and len(self._ends_s) < 2 * PERIOD_CYCLES:
            self._extend()
        turn_s = self._now_s * (at_s // self._now_s) if at_s >= self._now_s else 0.0
        index = bisect_right(self._ends_s, at_s - turn_s)
        if index == len(self._ends_s):  # rounding put it onto the very end
            index, turn_s = 0, turn_s + self._now_s
        return index % 2 == 1, turn_s + self._ends_s[index]

    def _extend(self) -> None:
        for length_s in self._draw(self._random):
            self._now_s += length_s
            self._ends_s.append(self._now_s)
