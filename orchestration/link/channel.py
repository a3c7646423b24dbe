"""The seam to a channel: what the radio path is like, in each direction, at a moment. It knows no bytes, no sockets and no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Direction(StrEnum):
    """Seen from the device: UP goes to the verifier."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class LegState:
    """One direction at a moment."""

    rate_bps: float = math.inf  # payload bits per second; infinite: transfers take no time
    delay_s: float = 0.0  # one way, beside what the rate costs
    jitter_s: float = 0.0  # standard deviation of the delay from one message to the next
    loss: float = 0.0  # probability that a message must be sent again
    snr_db: float | None = None
    outage: bool = False  # nothing passes until the state changes


@dataclass(frozen=True, slots=True)
class LinkState:
    """Both directions at a moment. The state holds until `until_s` (infinite: for good)."""

    up: LegState
    down: LegState
    until_s: float = math.inf

    def leg(self, direction: Direction) -> LegState:
        """The one direction."""
        return self.up if direction is Direction.UP else self.down

    @property
    def round_trip_s(self) -> float:
        """Delay up and down of what enters now, without jitter and the time that bytes take.

        An echo's round trip is this while the channel stands still: its way back meets the state of the moment it turns.
        """
        return self.up.delay_s + self.down.delay_s

    @property
    def round_trip_jitter_s(self) -> float:
        """Standard deviation of a round trip: the two directions vary independently."""
        return math.hypot(self.up.jitter_s, self.down.jitter_s)


class Channel(Protocol):
    """A channel as a function of time, piecewise constant.

    A channel that varies smoothly is cut into pieces short enough for its purpose, and says how short.
    """

    def state(self, at_s: float) -> LinkState:
        """The state at `at_s` seconds after the channel's start; before 0 it is the state at 0.

        The answer depends on `at_s` alone, never on what was asked before, so the proxy and a virtual clock see the same channel.
        """
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """A steady link in the terms that people use: a round trip, its jitter, two rates and a loss."""

    round_trip_s: float = 0.0
    jitter_s: float = 0.0  # standard deviation of the round trip
    uplink_bps: float = math.inf
    downlink_bps: float = math.inf
    loss: float = 0.0  # per message and direction

    def state(self, until_s: float = math.inf) -> LinkState:
        """Half the round trip each way; jitter is shared so that the round trip's deviation is `jitter_s`."""
        return LinkState(up=self._leg(self.uplink_bps), down=self._leg(self.downlink_bps), until_s=until_s)

    def _leg(self, rate_bps: float) -> LegState:
        return LegState(rate_bps, delay_s=self.round_trip_s / 2, jitter_s=self.jitter_s / math.sqrt(2), loss=self.loss)
