"""A band of radio spectrum, shared between up and down: what a signal-to-noise ratio makes of a link's rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

from pydantic import Field

from airdraft.errors import SettingsError
from airdraft.settings import Settings
from orchestration.link.capacity import DOWNLINK_MODEM, SHANNON, UPLINK_MODEM, Modem
from orchestration.link.channel import Conditions, LegState, LinkState
from orchestration.link.settings import LinkSettings

MODEMS: dict[str, tuple[Modem, Modem]] = {"shannon": (SHANNON, SHANNON), "tr36942": (UPLINK_MODEM, DOWNLINK_MODEM)}  # up, down


class RadioParameters(Settings):
    """What a channel with a signal-to-noise ratio is told about it. The band is the link's `bandwidth_mhz` and `uplink_share`."""

    mean_snr_db: float = Field(ge=-30, le=60, description="mean of the signal-to-noise ratio (as a ratio, not of its decibels)")
    uplink_offset_db: float = Field(0.0, ge=-40, le=40, description="added to it on the way up: a device sends with less power")
    modem: Literal["shannon", "tr36942"] = Field("shannon", description="the bound itself, or what 3GPP TR 36.942 takes modems to reach")


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Turns ratios into rates. All that the radio does not decide (delay, jitter, loss) is as in `conditions`."""

    conditions: Conditions
    uplink_hz: float
    downlink_hz: float
    parameters: RadioParameters

    @classmethod
    def from_settings(cls, settings: LinkSettings, parameters: RadioParameters) -> Self:
        """The link's band; delay, jitter and loss from its preset. Raises SettingsError when rates were given, which the radio decides."""
        if settings.uplink_mbps is not None or settings.downlink_mbps is not None:
            raise SettingsError("this channel's rates follow from its SNR and band; set bandwidth_mhz and uplink_share instead of rates.")
        band_hz = settings.bandwidth_mhz * 1e6
        up_hz = band_hz * settings.uplink_share
        return cls(settings.phases()[0].conditions, up_hz, band_hz - up_hz, parameters)

    def state(self, gain_up: float, gain_down: float, until_s: float = math.inf) -> LinkState:
        """The link while the power gains (mean 1) hold. A signal that the modem cannot hold is an outage."""
        plain = self.conditions.state(until_s)
        modem_up, modem_down = MODEMS[self.parameters.modem]
        snr_db = self.parameters.mean_snr_db
        up = _leg(plain.up, modem_up, self.uplink_hz, snr_db + self.parameters.uplink_offset_db + decibels(gain_up))
        down = _leg(plain.down, modem_down, self.downlink_hz, snr_db + decibels(gain_down))
        return LinkState(up, down, until_s)


def _leg(plain: LegState, modem: Modem, band_hz: float, snr_db: float) -> LegState:
    rate_bps = modem.rate_bps(snr_db, band_hz)
    return replace(plain, rate_bps=rate_bps, snr_db=snr_db, outage=rate_bps <= 0)


def decibels(ratio: float) -> float:
    """10·log10, with nothing at all as −300 dB."""
    return 10.0 * math.log10(max(ratio, 1e-30))
