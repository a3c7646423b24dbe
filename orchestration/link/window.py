"""What TCP's congestion window adds to a transfer: a new or idle connection sends little at once, and twice as much after each round trip.

Arithmetic on one connection's sends in one direction. It knows neither the queue nor the delay; `orchestration.link.transit` has those.
"""

from __future__ import annotations

import math

from pydantic import Field

from airdraft.settings import Settings


class WindowSettings(Settings):
    """Slow start as in RFC 6928 (ten segments at first) and restart after idle as in RFC 5681, section 4.1."""

    initial_bytes: int = Field(14_480, ge=536, le=1 << 20, description="the window at first and after idling: ten segments of 1,448 bytes")
    idle_s: float = Field(0.2, ge=0, le=3600, description="silence after which the window collapses: the retransmission timeout")


class CongestionWindow:
    """One connection's window in one direction, without losses: it only ever holds back the first round trips after silence.

    A burst's byte number b may leave once enough windows have been acknowledged: after m round trips, with m the least for which
    `initial · (2^(m + 1) − 1) ≥ b`. On a path that is slower than that, the path decides.
    """

    def __init__(self, settings: WindowSettings) -> None:
        self._settings = settings
        self._burst_s = -math.inf
        self._burst_bytes = 0
        self._last_s = -math.inf

    def earliest_s(self, size_bytes: int, at_s: float, round_trip_s: float) -> float:
        """When the last byte of a message of that size, given to the connection at `at_s`, may leave. Calls must not go back in time."""
        if at_s - self._last_s > self._settings.idle_s:
            self._burst_s, self._burst_bytes = at_s, 0
        self._burst_bytes += size_bytes
        rounds = self.round_trips(self._burst_bytes)
        allowed_s = max(at_s, self._burst_s + rounds * round_trip_s)
        self._last_s = allowed_s
        return allowed_s

    def round_trips(self, burst_bytes: int) -> int:
        """Round trips before so many bytes of one burst may all have been sent."""
        windows = burst_bytes / self._settings.initial_bytes + 1.0
        return max(math.ceil(math.log2(windows) - 1e-12) - 1, 0)
