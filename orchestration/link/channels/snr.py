"""A channel of one steady signal-to-noise ratio over one band: a cell of the mean SNR × bandwidth grid."""

from __future__ import annotations

from typing import Self

from orchestration.link.channel import LinkState
from orchestration.link.settings import LinkSettings
from orchestration.link.spectrum import RadioParameters, Spectrum


class SnrChannel:
    """`rate = bandwidth · log2(1 + SNR)` each way, for ever; asymmetric by the band's share and the uplink's offset."""

    def __init__(self, spectrum: Spectrum) -> None:
        self._state = spectrum.state(1.0, 1.0)

    @classmethod
    def from_settings(cls, settings: LinkSettings) -> Self:
        """Raises SettingsError for parameters other than those of RadioParameters."""
        return cls(Spectrum.from_settings(settings, settings.parsed(RadioParameters)))

    def state(self, at_s: float) -> LinkState:
        """See `Channel.state`."""
        return self._state
