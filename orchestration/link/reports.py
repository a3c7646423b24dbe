"""What a device gets to know of its radio: the channel's state as a modem reports it, a little late, now and then, and not quite right."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from statistics import NormalDist

from pydantic import Field

from airdraft.messages import ChannelState
from airdraft.settings import Settings
from orchestration.link.channel import LinkState

_NORMAL = NormalDist()


class ReportSettings(Settings):
    """How good the reports are. Real ones come every 20 to 200 ms, and modems round to a decibel or so."""

    interval_ms: float = Field(50.0, gt=0, le=60_000, description="from one report to the next")
    delay_ms: float = Field(20.0, ge=0, le=60_000, description="how old the state is when it is reported")
    snr_noise_db: float = Field(1.0, ge=0, le=20, description="standard deviation; the rates are off by the same ratio")
    round_trip_noise: float = Field(0.1, ge=0, le=1, description="standard deviation as a share of the round trip")
    round_trip: bool = Field(False, description="also report the round trip, instead of leaving it to what the session measures")


class RadioReports:
    """Answers with the last report. `state` is the channel on the caller's time, `now` that time; equal seeds give equal noise."""

    def __init__(self, state: Callable[[float], LinkState], now: Callable[[], float], settings: ReportSettings, seed: int = 0) -> None:
        self._state = state
        self._now = now
        self._settings = settings
        self._seed = seed
        self._number = -1
        self._report = ChannelState()

    def __call__(self) -> ChannelState:
        """What the modem last said."""
        number = math.floor(max(self._now(), 0.0) / (self._settings.interval_ms / 1e3))
        if number != self._number:
            self._number, self._report = number, self._made(number)
        return self._report

    def _made(self, number: int) -> ChannelState:
        settings = self._settings
        state = self._state(number * settings.interval_ms / 1e3 - settings.delay_ms / 1e3)
        snr_noise_db, trip_noise = (
            _NORMAL.inv_cdf(draw) * deviation
            for draw, deviation in zip(self._draws(number), (settings.snr_noise_db, settings.round_trip_noise), strict=True)
        )
        factor = 10.0 ** (snr_noise_db / 10.0)
        return ChannelState(
            snr_db=None if state.down.snr_db is None else state.down.snr_db + snr_noise_db,
            uplink_bps=_known(state.up.rate_bps * factor),
            downlink_bps=_known(state.down.rate_bps * factor),
            round_trip_s=max(state.round_trip_s * (1.0 + trip_noise), 0.0) if settings.round_trip else None,
        )

    def _draws(self, number: int) -> tuple[float, float]:
        """Two numbers in (0, 1), a function of seed and report."""
        digest = blake2b(f"report/{self._seed}/{number}".encode(), digest_size=16).digest()
        first, second = (int.from_bytes(digest[place : place + 8], "little") >> 11 for place in (0, 8))
        return (first + 0.5) / 2**53, (second + 0.5) / 2**53


def _known(rate_bps: float) -> float | None:
    """A rate without bound is not a figure that a modem can report."""
    return rate_bps if math.isfinite(rate_bps) else None
