"""A draft token's distribution as a few token ids with integer weights, small enough to cross the link and exact once there.

The device draws from the very row it sends, so a test against that row is lossless; it does not know what the row will be tested for.
"""

from __future__ import annotations

import numpy as np

from airdraft.errors import InternalError, MalformedMessageError, TokenOutOfRangeError
from airdraft.messages import QuantisedRow
from airdraft.sampling import Warped, total

SCALE = 4096  # what the weights of a row sum to
_SCALE_BITS = 12


def quantise(warped: Warped, width: int) -> QuantisedRow:
    """The `width` most probable entries, renormalised and rounded to weights that sum to SCALE; weights of 0 are dropped.

    Rounding is by largest remainder. Equals are taken by id ascending, in the choice of entries and of remainders. Ids come out ascending.
    Raises InternalError for a width outside 1 … SCALE.
    """
    if not 1 <= width <= SCALE:
        raise InternalError(f"a row of width {width} was asked for; it must be between 1 and {SCALE}.")
    order = np.sort(_most_probable(warped.probabilities, width))
    shares = warped.probabilities[order]
    shares = shares * (SCALE / total(shares))
    weights = np.floor(shares).astype(np.int64)
    largest = np.argsort(weights - shares, kind="stable")  # most negative first: the largest remainders
    weights[largest[: SCALE - int(weights.sum())]] += 1
    kept = weights > 0
    return QuantisedRow(tuple(warped.tokens[order[kept]].tolist()), tuple(weights[kept].tolist()))


def _most_probable(probabilities: np.ndarray, width: int) -> np.ndarray:
    if width >= probabilities.size:
        return np.arange(probabilities.size)
    threshold = np.partition(probabilities, probabilities.size - width)[probabilities.size - width]
    above = np.flatnonzero(probabilities > threshold)
    equal = np.flatnonzero(probabilities == threshold)[: width - above.size]
    return np.concatenate((above, equal))


def certain(token: int) -> QuantisedRow:
    """The row of a drafter that had no choice, such as a lookup."""
    return QuantisedRow((token,), (SCALE,))


def draw(row: QuantisedRow, key: int) -> int:
    """A token of `row` by its weights: exactly, since 12 random bits count the weights. `key` is noise.key(…, Purpose.DRAFT)."""
    remaining = key >> (64 - _SCALE_BITS)
    for token, weight in zip(row.tokens, row.weights, strict=True):
        remaining -= weight
        if remaining < 0:
            return token
    raise InternalError(f"the weights of a row sum to {sum(row.weights)}, not to {SCALE}; make rows with quantise().")


def probability(row: QuantisedRow, token: int) -> float:
    """Of one token, exactly; 0 for one that is not in the row."""
    return row.weights[row.tokens.index(token)] / SCALE if token in row.tokens else 0.0


def validate(row: QuantisedRow, vocabulary_size: int, width: int) -> None:
    """Raises MalformedMessageError or TokenOutOfRangeError unless `row` is a distribution over at most `width` tokens of the vocabulary."""
    if len(row.tokens) != len(row.weights) or not 1 <= len(row.tokens) <= width:
        raise MalformedMessageError(
            f"a draft's row has {len(row.tokens)} tokens and {len(row.weights)} weights; expected equally many, 1 to {width}."
        )
    if min(row.weights) < 1 or sum(row.weights) != SCALE:
        raise MalformedMessageError(
            f"the weights of a draft's row sum to {sum(row.weights)}, the least is {min(row.weights)}; expected {SCALE}, all positive."
        )
    if len(set(row.tokens)) != len(row.tokens):
        raise MalformedMessageError("a draft's row names a token twice; expected each at most once.")
    if min(row.tokens) < 0 or max(row.tokens) >= vocabulary_size:
        raise TokenOutOfRangeError(
            f"a draft's row names tokens {min(row.tokens)} to {max(row.tokens)}; expected ids from 0 to {vocabulary_size - 1}."
        )


def validate_drawn(row: QuantisedRow, token: int) -> None:
    """Raises MalformedMessageError when `token` cannot have been drawn from `row`."""
    if token not in row.tokens:
        raise MalformedMessageError(f"draft token {token} is not in the row it came with; send the row that it was drawn from.")
