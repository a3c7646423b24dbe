"""Rayleigh block fading: many echoes and no line of sight, so the ratio is exponentially distributed and drifts with the Doppler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

from pydantic import Field

from orchestration.link.channel import LinkState
from orchestration.link.fading import ScatteredGains, clarke_correlation
from orchestration.link.settings import LinkSettings
from orchestration.link.spectrum import RadioParameters, Spectrum


class FadingParameters(RadioParameters):
    """How fast and how alike the two directions fade."""

    block_ms: float = Field(10.0, gt=0, le=10_000, description="for how long the gain holds")
    doppler_hz: float = Field(10.0, ge=0, le=10_000, description="speed / wavelength: 10 Hz is a walk at 2.1 GHz, 100 Hz a car at 50 km/h")
    reciprocal: bool = Field(True, description="up and down fade alike, as on one frequency in turns; else each by itself")


class BlockFading:
    """Power gains (mean 1) that hold for a block and are correlated from one to the next. `power` makes one of a scattered gain."""

    def __init__(self, spectrum: Spectrum, fading: FadingParameters, seed: int, power: Callable[[complex], float]) -> None:
        self._spectrum = spectrum
        self._power = power
        self._block_s = fading.block_ms / 1e3
        correlation = clarke_correlation(fading.doppler_hz, self._block_s)
        self._up = ScatteredGains(correlation, (seed, 1))
        self._down = self._up if fading.reciprocal else ScatteredGains(correlation, (seed, 2))
        self._block = -1
        self._state = spectrum.state(1.0, 1.0)

    def state(self, at_s: float) -> LinkState:
        """See `Channel.state`."""
        at_s = max(at_s, 0.0)
        block = math.floor(at_s / self._block_s)
        block += int(at_s >= (block + 1) * self._block_s) - int(at_s < block * self._block_s)  # the division may be rounded past an edge
        if block != self._block:
            gains = self._power(self._up.gain(block)), self._power(self._down.gain(block))
            self._block, self._state = block, self._spectrum.state(*gains, until_s=(block + 1) * self._block_s)
        return self._state


class RayleighChannel(BlockFading):
    """`SNR = mean · |g|²` with g circular complex Gaussian: mean · Exp(1)."""

    @classmethod
    def from_settings(cls, settings: LinkSettings) -> Self:
        """Raises SettingsError for parameters other than those of FadingParameters."""
        fading = settings.parsed(FadingParameters)
        return cls(Spectrum.from_settings(settings, fading), fading, settings.seed, lambda gain: abs(gain) ** 2)
