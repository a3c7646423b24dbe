"""Rician block fading: a line of sight beside the echoes, K times as strong as all of them together."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field

from orchestration.link.channels.rayleigh import BlockFading, FadingParameters
from orchestration.link.settings import LinkSettings
from orchestration.link.spectrum import Spectrum


class RicianParameters(FadingParameters):
    """Fading with a line of sight."""

    k_db: float = Field(6.0, ge=-40, le=40, description="power of the line of sight over that of the echoes")


class RicianChannel(BlockFading):
    """`SNR = mean · |√(K/(K+1)) + √(1/(K+1))·g|²`: still 1 on average, and the steadier the larger K."""

    @classmethod
    def from_settings(cls, settings: LinkSettings) -> Self:
        """Raises SettingsError for parameters other than those of RicianParameters."""
        fading = settings.parsed(RicianParameters)
        ratio = 10.0 ** (fading.k_db / 10.0)
        steady, scattered = math.sqrt(ratio / (ratio + 1.0)), math.sqrt(1.0 / (ratio + 1.0))

        def power(gain: complex) -> float:
            return abs(steady + scattered * gain) ** 2

        return cls(Spectrum.from_settings(settings, fading), fading, settings.seed, power)
