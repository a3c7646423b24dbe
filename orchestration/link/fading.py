"""Correlated complex gains of a fading radio path, block by block. They can be asked for in any order and are always the same."""

from __future__ import annotations

import math

import numpy as np

PERIOD_BLOCKS = 2**17  # after so many the gains repeat, which bounds memory and time
_STRETCH = 2048  # blocks made at a time
_SQRT_HALF = math.sqrt(0.5)


def clarke_correlation(doppler_hz: float, block_s: float) -> float:
    """Correlation of the gain between neighbouring blocks when waves come from all sides: ρ = J0(2π·f_d·T) (Clarke 1968)."""
    return bessel_j0(2.0 * math.pi * doppler_hz * block_s)


def bessel_j0(x: float) -> float:
    """Bessel's function of the first kind and order 0, as the mean of cos(x·sin θ) over a half turn.

    The mean over equally spaced angles of a smooth periodic function converges faster than any power: this is exact to rounding.
    """
    angles = (np.arange(64 + 2 * math.ceil(abs(x))) + 0.5) * math.pi / (64 + 2 * math.ceil(abs(x)))
    return float(np.mean(np.cos(x * np.sin(angles))))


class ScatteredGains:
    """Circular complex Gaussian gains with mean power 1: g₀ stationary, then gₙ = ρ·gₙ₋₁ + √(1 − ρ²)·wₙ. Amplitudes are Rayleigh."""

    def __init__(self, correlation: float, seed: tuple[int, ...]) -> None:
        self._correlation = correlation
        self._innovation = math.sqrt(max(1.0 - correlation * correlation, 0.0))
        self._random = np.random.default_rng(seed)
        self._gains: list[complex] = []

    def gain(self, block: int) -> complex:
        """The gain of a block, counted from 0."""
        block %= PERIOD_BLOCKS
        while block >= len(self._gains):
            self._extend()
        return self._gains[block]

    def _extend(self) -> None:
        parts = self._random.standard_normal((_STRETCH, 2)) * _SQRT_HALF
        fresh = (parts[:, 0] + 1j * parts[:, 1]).tolist()
        gain = self._gains[-1] if self._gains else None
        for wave in fresh:
            gain = wave if gain is None else self._correlation * gain + self._innovation * wave
            self._gains.append(gain)
