"""From logits to a token: warping (temperature, top-k, top-p) and the draw, the same on the device and in the cloud, bit for bit.

It knows nothing of drafts or rules. Beside the integer noise it uses only additions, multiplications, divisions and comparisons of
float64, which IEEE 754 rounds alike everywhere; a maths library serves only to leave out tokens that cannot win.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from airdraft import noise
from airdraft.errors import InternalError
from airdraft.noise import Purpose
from airdraft.settings import Sampling

Logits = NDArray[np.float32]
Ids = NDArray[np.int64]
Reals = NDArray[np.float64]


def token(logits: Logits, sampling: Sampling, position: int) -> int:
    """The token at absolute `position`, given `logits` [V] float32: a pure function of its arguments and nothing else.

    Temperature 0: the highest logit, the lowest id among equals. Otherwise Gumbel-max over the tokens that survive the warping: the
    highest (logit - highest logit) / temperature + gumbel(seed, position, token), again the lowest id among equals. With a drafter's
    logits it is the coupled draft of Daliri, Musco, Suresh 2024 (arXiv 2408.07978). Raises InternalError for logits that are not finite.
    """
    best, highest = _best(logits)
    if sampling.temperature == 0:
        return best
    key = noise.key(sampling.seed, position, Purpose.TARGET)
    survivors = _survivors(logits, highest, sampling)
    if survivors is None:
        return _winner(_Race(logits, highest, sampling.temperature, noise.vocabulary_bits(key, logits.size)))
    return int(survivors[_winner(_Race(logits[survivors], highest, sampling.temperature, noise.bits(key, survivors)))])


@dataclass(frozen=True, slots=True)
class Warped:
    """A distribution after warping: `tokens` int64 [n], ascending; `probabilities` float64 [n], which sum to 1 within rounding."""

    tokens: Ids
    probabilities: Reals

    def probability(self, token: int) -> float:
        """Of one token; 0 for one that did not survive."""
        index = int(np.searchsorted(self.tokens, token))
        if index < self.tokens.size and self.tokens[index] == token:
            return float(self.probabilities[index])
        return 0.0


def warped(logits: Logits, sampling: Sampling) -> Warped:
    """The distribution that `sampling` makes of `logits` [V] float32: temperature, then top-k, then top-p, as the field orders them.

    top-k keeps exactly k tokens, ordered by logit descending, then id ascending. top-p keeps, in the same order, the shortest run whose
    probability reaches top_p. Temperature 0 gives all to the highest logit. Raises InternalError for logits that are not finite.
    """
    best, highest = _best(logits)
    if sampling.temperature == 0:
        return Warped(np.array([best], dtype=np.int64), np.ones(1))
    tokens = _survivors(logits, highest, sampling)
    if tokens is None:
        tokens, chosen = np.arange(logits.size, dtype=np.int64), logits
    else:
        chosen = logits[tokens]
    weights = _weights(chosen, highest, sampling.temperature)
    return Warped(tokens, weights / total(weights))


def draw(tokens: Ids, weights: Reals, uniform: float) -> int:
    """The token of `tokens` [n] in whose share of `weights` [n] (≥ 0, not all 0, of any sum) `uniform` of [0, 1) falls."""
    cumulative = np.add.accumulate(weights)
    index = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    last = int(np.searchsorted(cumulative, cumulative[-1]))  # rounding may have carried the product up to the whole sum
    return int(tokens[min(index, last)])


def total(weights: Reals) -> float:
    """Sum in order of index, so that it is the same everywhere (numpy's own sum may take another order)."""
    return float(np.add.accumulate(weights)[-1])


def _best(logits: Logits) -> tuple[int, float]:
    """The lowest id among those of the highest logit, and that logit, once it is sure that all are finite."""
    if logits.ndim != 1 or logits.size == 0 or logits.dtype != np.float32:
        raise InternalError(f"logits of shape {logits.shape} and type {logits.dtype}; a token needs one row [V] of float32.")
    best = int(logits.argmax())
    lowest, highest = float(np.minimum.reduce(logits)), float(logits[best])
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise InternalError(f"logits between {lowest} and {highest}; all must be finite. The model or its weights are at fault.")
    return best, highest


def _gaps(logits: Logits, highest: float, temperature: float) -> Reals:
    """(logit - highest) / temperature: at most 0; -inf where a tiny temperature overflows, which never wins."""
    with np.errstate(over="ignore"):
        return (logits.astype(np.float64) - highest) / temperature


@dataclass(frozen=True, slots=True)
class _Race:
    """What decides a token: logits [n], the highest of them, the temperature, random bits [n]."""

    logits: Logits
    highest: float
    temperature: float
    bits: noise.Words

    def scores(self, chosen: Ids) -> Reals:
        """The defining scores of some of the entries."""
        return _gaps(self.logits[chosen], self.highest, self.temperature) + noise.gumbel(self.bits[chosen])


_SLACK = 1.001  # far above all rounding in `_lead` (below 2e-5) and in the scores (below 1e-12)
_FEW = 64  # so few are scored outright sooner than sifted
_FLOOR = -80.0  # a token this far below the highest has lost: Gumbel values span less than 49
_CHUNK = 8192  # elements whose intermediate results stay in a core's cache


def _winner(race: _Race) -> int:
    """Index of the highest score, the lowest index among equals, found without computing every score.

    A score g + G beats `best` only if -ln(U) ≤ exp(g - best), and v = 1 - U ≤ -ln(U), so only if v / exp(g) ≤ exp(-best). The left side
    needs no logarithm and single precision is enough for it, since entries that pass are scored exactly. About two do.
    """
    if race.logits.size <= _FEW:
        return int(np.argmax(race.scores(np.arange(race.logits.size))))
    lead = _lead(race)
    first = np.array([np.argmin(lead)], dtype=np.int64)
    best = float(race.scores(first)[0])
    contenders = np.flatnonzero(lead <= np.float32(np.exp(-best) * _SLACK))
    return int(contenders[np.argmax(race.scores(contenders))])


def _lead(race: _Race) -> NDArray[np.float32]:
    """v / exp(gap) [n], never above its real value by more than rounding: gaps below the floor are raised to it."""
    scale = np.float32(min(1 / max(race.temperature, 1e-38), 1e38))
    lead = np.empty(race.logits.size, dtype=np.float32)
    with np.errstate(over="ignore"):
        for start in range(0, lead.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            gap = race.logits[part] - np.float32(race.highest)
            gap *= scale
            np.maximum(gap, np.float32(_FLOOR), out=gap)
            np.exp(gap, out=gap)
            left = (~race.bits[part]).astype(np.float32)
            left += np.float32(0.5)
            left *= np.float32(2.0**-64)
            np.divide(left, gap, out=lead[part])
    return lead


def _survivors(logits: Logits, highest: float, sampling: Sampling) -> Ids | None:
    """Ids, ascending, of the tokens that survive top-k and top-p; None when both are off."""
    kept = _top_k(logits, sampling.top_k) if 0 < sampling.top_k < logits.size else None
    if sampling.top_p == 1:
        return kept
    chosen = logits if kept is None else logits[kept]
    inside = _top_p(chosen, _weights(chosen, highest, sampling.temperature), sampling.top_p)
    return inside if kept is None else kept[inside]


def _top_k(logits: Logits, count: int) -> Ids:
    """Indices, ascending, of the `count` first by (logit descending, index ascending)."""
    threshold = np.partition(logits, logits.size - count)[logits.size - count]
    above = np.flatnonzero(logits > threshold)
    equal = np.flatnonzero(logits == threshold)[: count - above.size]
    return np.sort(np.concatenate((above, equal)))


_FIRST_STEP, _GROWTH = 64, 8  # how many of the highest logits top-p sorts at first, and how fast that grows


def _top_p(logits: Logits, weights: Reals, top_p: float) -> Ids:
    """Indices, ascending, of the shortest run by (logit descending, index ascending) whose weight reaches `top_p` of the whole."""
    goal = top_p * total(weights)
    count = _FIRST_STEP
    while count < logits.size:
        threshold = np.partition(logits, logits.size - count)[logits.size - count]
        inside = _run(np.flatnonzero(logits >= threshold), logits, weights, goal)
        if inside is not None:
            return inside
        count *= _GROWTH
    everything = np.arange(logits.size)
    inside = _run(everything, logits, weights, goal)
    return everything if inside is None else inside


def _run(candidates: Ids, logits: Logits, weights: Reals, goal: float) -> Ids | None:
    """The shortest run of `candidates` whose weight reaches `goal`; None when all of them together do not."""
    order = candidates[np.argsort(-logits[candidates], kind="stable")]
    cumulative = np.add.accumulate(weights[order])
    if cumulative[-1] < goal:
        return None
    return np.sort(order[: int(np.searchsorted(cumulative, goal)) + 1])


def _two_to(entry: int, entries: int) -> float:
    with localcontext(prec=40):
        return float(Decimal(2) ** (Decimal(entry) / entries))


def _ln2_parts() -> tuple[float, float]:
    """ln 2 / 64 as a float64 with 20 trailing zero bits, so that its products with whole numbers below 2^20 are exact, and the rest."""
    with localcontext(prec=40):
        exact = Decimal(2).ln() / _POWERS.size
        high = float(int(exact * 2**39)) / 2**39
        return high, float(exact - Decimal(high))


_POWERS = np.array([_two_to(entry, 64) for entry in range(64)])
_LN2_HIGH, _LN2_LOW = _ln2_parts()
_PER_LN2 = 1 / (_LN2_HIGH + _LN2_LOW)
_LOWEST_EXPONENT = -708.0  # below it the result would be subnormal


def _exponential(values: Reals) -> Reals:
    """exp of values [n] ≤ 0 within 2 units in the last place; exp(-708) for anything below that."""
    clipped = np.maximum(values, _LOWEST_EXPONENT)
    steps = np.rint(clipped * _PER_LN2)
    rest = (clipped - steps * _LN2_HIGH) - steps * _LN2_LOW  # |rest| ≤ ln 2 / 128
    series = rest * (1 / 720) + 1 / 120
    for constant in (1 / 24, 1 / 6, 0.5, 1.0, 1.0):
        series *= rest
        series += constant
    whole = steps.astype(np.int64)
    series *= _POWERS[whole & 63]
    powers_of_two = ((whole >> 6) + 1023) << 52
    scaled: Reals = series * powers_of_two.view(np.float64)
    return scaled


def _weights(logits: Logits, highest: float, temperature: float) -> Reals:
    """exp((logit - highest) / temperature) [n], not normalised."""
    weights = np.empty(logits.size)
    for start in range(0, logits.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        weights[part] = _exponential(_gaps(logits[part], highest, temperature))
    return weights
