"""Random numbers as a pure function of (seed, absolute position, purpose, token id), the same on every platform.

It keeps no state, knows nothing of distributions, and uses integer arithmetic only: no result depends on a maths library.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from airdraft.errors import InternalError

Words = NDArray[np.uint64]


class Purpose(IntEnum):
    """What a number is drawn for: numbers of different purposes at one position are independent. The values are part of the protocol."""

    TARGET = 0  # Gumbel noise of the target's token; the device drafts with the same, which is what makes the two agree
    DRAFT = 1  # the device's draw from a quantised row
    ACCEPT = 2  # the test of a draft token in speculative sampling
    RESIDUAL = 3  # the target's token in place of a rejected one
    BONUS = 4  # the target's token after a draft that was accepted whole


def key(seed: int, position: int, purpose: Purpose) -> int:
    """The 64 bits from which all numbers of one purpose at one absolute position follow. Raises InternalError outside 64 bits."""
    if not (0 <= seed < 2**64 and 0 <= position < 2**64):
        raise InternalError(f"noise asked for seed {seed} at position {position}; both must be whole numbers of 64 bits, not negative.")
    text = seed.to_bytes(8, "little") + position.to_bytes(8, "little") + int(purpose).to_bytes(4, "little")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def uniform(key: int) -> float:
    """A number in [0, 1): the upper 53 bits of `key`, exactly."""
    return (key >> 11) * 2.0**-53


_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: the step of SplitMix64
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MASK = 2**64 - 1


def bits(key: int, tokens: NDArray[np.int64]) -> Words:
    """64 random bits for each token id of `tokens` [n], as uint64 [n].

    SplitMix64 (Steele, Lea, Flood 2014): element token + 1 of the sequence that starts at `key`, so any token's bits cost the same.
    """
    return _finalise((tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN), key)


def vocabulary_bits(key: int, vocabulary_size: int) -> Words:
    """The same as `bits(key, arange(vocabulary_size))`, faster."""
    return _finalise(_steps(vocabulary_size), key)


@lru_cache(maxsize=4)
def _steps(vocabulary_size: int) -> Words:
    steps = np.arange(1, vocabulary_size + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    steps.flags.writeable = False
    return steps


_CHUNK = 8192  # elements whose intermediate results stay in a core's cache


def _finalise(steps: Words, key: int) -> Words:
    mixed = np.empty_like(steps)
    shifted = np.empty(min(_CHUNK, steps.size), dtype=np.uint64)
    for start in range(0, steps.size, _CHUNK):
        part = mixed[start : start + _CHUNK]
        spare = shifted[: part.size]
        np.add(steps[start : start + _CHUNK], np.uint64(key), out=part)
        for distance, factor in ((30, _FIRST), (27, _SECOND)):
            np.right_shift(part, np.uint64(distance), out=spare)
            np.bitwise_xor(part, spare, out=part)
            np.multiply(part, factor, out=part)
        np.right_shift(part, np.uint64(31), out=spare)
        np.bitwise_xor(part, spare, out=part)
    return mixed


# Fixed point. A number x with f fractional bits ("Qf") is the integer nearest or just below x * 2^f. All logarithms are Q52.

RESOLUTION_BITS = 46  # every Gumbel value is a whole multiple of 2^-46, so that its conversion to float64 is exact
GUMBEL_ERROR = 2.0**-42  # bound of |gumbel(b) - its real value|; tests measure less than 2^-43
LOWEST_GUMBEL, HIGHEST_GUMBEL = -3.82, 45.06  # what 64 bits can give

_LEADING_BITS = 10  # of a normalised mantissa, after its leading one: they choose the entry of the table
_ENTRIES = 1 << _LEADING_BITS


def _logarithms() -> list[int]:
    """ln((1024 + j) / 1024) in Q96 for j = 0 … 1024, by ln((b + 1) / b) = 2 artanh(1 / (2b + 1)) in Python's integers."""
    entries = [0]
    for base in range(_ENTRIES, 2 * _ENTRIES):
        divisor = 2 * base + 1
        power, total = (2 << 96) // divisor, 0
        for odd in range(1, 13, 2):
            total += power // odd
            power //= divisor * divisor
        entries.append(entries[-1] + total)
    return entries


def _rounded(value: int) -> int:
    """From Q96 to Q52."""
    return (value + (1 << 43)) >> 44


_EXACT = _logarithms()
_TABLE = np.array([_rounded(entry) for entry in _EXACT[:-1]], dtype=np.int64)
_LN2_TIMES = np.array([_rounded(_EXACT[-1] * times) for times in range(66)], dtype=np.int64)


def _coefficient(numerator: int, denominator: int) -> np.uint64:
    return np.uint64(((numerator << 32) + denominator // 2) // denominator)


_LOG_SERIES = tuple(_coefficient(1, n) for n in (2, 3, 4, 5))
_NEAR_SERIES = tuple(
    _coefficient(*fraction) for fraction in ((5, 24), (1, 8), (251, 2880), (19, 288), (19087, 362880), (751, 17280))
)  # of ln(-ln(1 - v) / v) - v/2, divided by v^2


def _logarithm(values: Words) -> NDArray[np.int64]:
    """Natural logarithm, in Q52, of integers [n] ≥ 1; error below 2^-49.

    Normalised to 1.xxx · 2^e; the first ten bits after the point choose a table entry for `base`; the rest, t = rest / base < 2^-10,
    goes through ln(1 + t) = t - t²(1/2 - t/3 + t²/4 - t³/5).
    """
    length = _bit_length(values)
    normalised = values << (np.uint64(64) - length)
    base = normalised >> np.uint64(63 - _LEADING_BITS)
    rest = normalised & np.uint64((1 << (63 - _LEADING_BITS)) - 1)
    t = (rest >> np.uint64(1)) // base  # Q52
    t42 = t >> np.uint64(10)  # below 2^32, so that products fit 64 bits
    square = (t42 * t42) >> np.uint64(32)  # Q52, below 2^32
    inner: Words | np.uint64 = _LOG_SERIES[3]
    for constant in reversed(_LOG_SERIES[:3]):
        inner = constant - ((inner * t42) >> np.uint64(42))  # Q32
    tail = t - ((square * inner) >> np.uint64(32))
    whole: NDArray[np.int64] = _TABLE[base - np.uint64(_ENTRIES)] + _LN2_TIMES[length - np.uint64(1)]
    whole += tail.astype(np.int64)
    return whole


def _bit_length(values: Words) -> Words:
    leading = values & ~(values >> np.uint64(1))  # keeps the leading one and clears the bit after it, so that rounding cannot carry
    return (leading.astype(np.float64).view(np.uint64) >> np.uint64(52)) - np.uint64(1022)


def _near_correction(odd: Words) -> NDArray[np.int64]:
    """ln(-ln(1 - v) / v) in Q52 for v = odd / 2^65 below 2^-6, by its power series."""
    v38 = odd >> np.uint64(27)  # below 2^32
    square = (v38 * v38) >> np.uint64(32)  # Q44, below 2^32
    inner: Words | np.uint64 = _NEAR_SERIES[-1]
    for constant in reversed(_NEAR_SERIES[:-1]):
        inner = constant + ((inner * v38) >> np.uint64(38))  # Q32
    return ((odd >> np.uint64(14)) + ((square * inner) >> np.uint64(24))).astype(np.int64)


def gumbel(bits: Words) -> NDArray[np.float64]:
    """Standard Gumbel values [n], -ln(-ln(U)) with U = (bits + 1/2) / 2^64: multiples of 2^-46, each within GUMBEL_ERROR of the real one.

    Where U is within 2^-6 of 1 (the values that win an argmax), -ln(U) is small and its *relative* error counts, so there it is taken as
    v · (1 + v/2 + …) with v = 1 - U, exact in the complement of the bits.
    """
    near = bits >= np.uint64(2**64 - 2**58)
    if near.all():
        fixed = _near_one(bits)
    elif not near.any():
        fixed = _not_near_one(bits)
    else:
        fixed = np.empty(bits.shape, dtype=np.int64)
        fixed[near] = _near_one(bits[near])
        fixed[~near] = _not_near_one(bits[~near])
    rounded = (fixed + (1 << (51 - RESOLUTION_BITS))) >> (52 - RESOLUTION_BITS)
    return rounded.astype(np.float64) * 2.0**-RESOLUTION_BITS


def _near_one(bits: Words) -> NDArray[np.int64]:
    odd = (~bits << np.uint64(1)) | np.uint64(1)  # v · 2^65
    fixed: NDArray[np.int64] = _LN2_TIMES[65] - _logarithm(odd) - _near_correction(odd)
    return fixed


def _not_near_one(bits: Words) -> NDArray[np.int64]:
    lower = bits < np.uint64(1 << 63)
    numerator = np.where(lower, (bits << np.uint64(1)) | np.uint64(1), bits)  # above 1/2 the half is below what counts, and would not fit
    exponential = np.where(lower, _LN2_TIMES[65], _LN2_TIMES[64]) - _logarithm(numerator)  # -ln(U) in Q52
    fixed: NDArray[np.int64] = _LN2_TIMES[52] - _logarithm(exponential.astype(np.uint64))
    return fixed
