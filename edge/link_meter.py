"""The link as a session sees it: round trip, jitter and rates, from when messages went, when their answers came, and how large both were.

It sends nothing of its own, and does not know what the messages meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airdraft.messages import ChannelState

SMALL_BYTES = 256  # an exchange below this measures the round trip, since its own transfer hardly counts
LARGE_BYTES = 512  # one at or above this can show a rate
GAIN, JITTER_GAIN = 1 / 8, 1 / 4  # smoothing of RFC 6298
SIGNIFICANT = 2.0  # a transfer time shows only when it exceeds this many jitters


@dataclass(frozen=True, slots=True)
class Exchange:
    """One message up and its answer down."""

    elapsed_s: float  # from sending to the answer's arrival
    verifier_s: float  # the part of that spent by the verifier: queue and forward
    bytes_up: int
    bytes_down: int

    @property
    def on_the_link_s(self) -> float:
        """What is left for the link: both ways, and the transfers."""
        return max(self.elapsed_s - self.verifier_s, 0.0)


class LinkMeter:
    """Smooths round trips as TCP does, and infers a rate from how much longer large messages take than small ones.

    `modem` answers with what a radio says of itself, as a phone's modem does; what it knows stands in place of what is inferred here.
    """

    def __init__(self, modem: Callable[[], ChannelState] | None = None) -> None:
        self._modem = modem
        self._round_trip_s: float | None = None
        self._jitter_s = 0.0
        self._provisional = False
        self._large_up: Exchange | None = None
        self._large_down: Exchange | None = None

    def observe(self, exchange: Exchange) -> None:
        """Take in one exchange. A large one stands in for the round trip only until a small one has been seen."""
        small_up, small_down = exchange.bytes_up < SMALL_BYTES, exchange.bytes_down < SMALL_BYTES
        if exchange.bytes_up >= LARGE_BYTES and small_down:
            self._large_up = exchange
        elif exchange.bytes_down >= LARGE_BYTES and small_up:
            self._large_down = exchange
        self._smooth(exchange.on_the_link_s, provisional=not (small_up and small_down))

    def _smooth(self, sample_s: float, provisional: bool) -> None:
        if self._round_trip_s is None or (self._provisional and not provisional):
            self._round_trip_s, self._jitter_s, self._provisional = sample_s, sample_s / 4, provisional
        elif not provisional:
            self._jitter_s += JITTER_GAIN * (abs(sample_s - self._round_trip_s) - self._jitter_s)
            self._round_trip_s += GAIN * (sample_s - self._round_trip_s)

    @property
    def round_trip_s(self) -> float | None:
        """Smoothed round trip without the verifier's own time; None before the first exchange."""
        return self._round_trip_s

    @property
    def jitter_s(self) -> float | None:
        """Smoothed distance of a round trip from the smoothed one."""
        return None if self._round_trip_s is None else self._jitter_s

    def state(self) -> ChannelState:
        """What is known now. A rate that no modem states stays None while no large message took measurably longer than a small one."""
        told = self._modem() if self._modem is not None else ChannelState()
        return ChannelState(
            snr_db=told.snr_db,
            uplink_bps=self._rate(self._large_up, up=True) if told.uplink_bps is None else told.uplink_bps,
            downlink_bps=self._rate(self._large_down, up=False) if told.downlink_bps is None else told.downlink_bps,
            round_trip_s=self._round_trip_s if told.round_trip_s is None else told.round_trip_s,
        )

    def _rate(self, exchange: Exchange | None, up: bool) -> float | None:
        if exchange is None or self._round_trip_s is None or self._provisional:
            return None
        transfer_s = exchange.on_the_link_s - self._round_trip_s
        if transfer_s <= SIGNIFICANT * self._jitter_s or transfer_s <= 0:
            return None
        return 8 * (exchange.bytes_up if up else exchange.bytes_down) / transfer_s
