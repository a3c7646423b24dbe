"""How many bits per second a radio carries at a signal-to-noise ratio: Shannon's bound, attenuated and capped as real modems are."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Modem:
    """How near a modem comes to Shannon's bound.

    `rate = bandwidth · min(efficiency · log2(1 + SNR), ceiling)`, and 0 below the floor. The form and the two sets of
    figures below are the link-level model of 3GPP TR 36.942, annex A. The defaults are Shannon's bound itself.
    """

    efficiency: float = 1.0
    ceiling_bps_per_hz: float = math.inf
    floor_db: float = -math.inf

    def rate_bps(self, snr_db: float, bandwidth_hz: float) -> float:
        """Bits per second over `bandwidth_hz` at `snr_db`; 0 when the signal is below what the modem can hold."""
        if snr_db < self.floor_db:
            return 0.0
        bits_per_hz = self.efficiency * math.log2(1.0 + 10.0 ** (snr_db / 10.0))
        return bandwidth_hz * min(bits_per_hz, self.ceiling_bps_per_hz)


SHANNON = Modem()
DOWNLINK_MODEM = Modem(efficiency=0.6, ceiling_bps_per_hz=4.4, floor_db=-10.0)
UPLINK_MODEM = Modem(efficiency=0.4, ceiling_bps_per_hz=2.0, floor_db=-10.0)
