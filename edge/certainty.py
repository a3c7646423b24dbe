"""How sure a model was of a token: the figures that stopping rules read, the same whether a model drafts or a recording is replayed.

It looks at one row of logits; what is made of the figures, it does not know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Certainty:
    """Of the softmax of a row of logits before any warping (temperature 1).

    Every figure is rounded to float16, which is what a recording keeps: so a rule decides on a recording as it did live.
    """

    probability: float  # of the token that was proposed
    entropy: float  # nats
    first: float  # the highest probability
    second: float  # the second highest; 0 in a vocabulary of one

    @property
    def margin(self) -> float:
        """How far the likeliest token is ahead of the next."""
        return self.first - self.second


def measure(logits: NDArray[np.float32], token: int) -> Certainty:
    """The certainty of `token` under `logits` [V] float32."""
    best = int(np.argmax(logits))
    gaps = logits - logits[best]
    weights = np.exp(gaps)
    total = float(weights.sum(dtype=np.float64))
    gaps *= weights
    entropy = math.log(total) - float(gaps.sum(dtype=np.float64)) / total
    probability = float(weights[token]) / total
    weights[best] = 0.0
    return Certainty(_rounded(probability), _rounded(max(entropy, 0.0)), _rounded(1 / total), _rounded(float(weights.max()) / total))


def _rounded(value: float) -> float:
    return float(np.float16(value))
