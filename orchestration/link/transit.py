"""When does a message that enters a link leave it? Two FIFO queues over a channel, by arithmetic alone: no clock, no sockets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from statistics import NormalDist

from orchestration.link.channel import Channel, Direction, LinkState
from orchestration.link.window import CongestionWindow, WindowSettings

MINIMUM_TIMEOUT_S = 0.2  # Linux adds at least this much to the smoothed round trip (TCP_RTO_MIN)
HORIZON_S = 3600.0  # a message that needs longer than this is taken never to arrive
JITTER_BOUND = 3.0  # deviations; an unbounded normal would now and then stop the link for a rarity
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Passage:
    """One message's way over a direction. Infinite times: it never gets through on this channel."""

    entered_s: float
    sent_s: float  # its last bit has left the sender; the next message may start
    arrives_s: float
    lost: bool = False  # it was sent twice


class Transit:
    """A link shared by any number of flows. Times are the caller's; the channel's own time begins at `origin_s`.

    Each direction sends one message at a time in order of entry, at the channel's rate (integrated over the transfer). After its last
    bit is sent a message takes the delay and its jitter. A lost one arrives one retransmission timeout later: the round trip plus
    max(200 ms, four deviations), after RFC 6298 as Linux has it; the second try always succeeds and takes none of the rate. Outages hold
    both what is being sent and what would arrive. The n-th message of a direction always meets the same luck for a given seed.
    With `window`, each flow also has TCP's congestion window, which holds back what is sent after silence.
    """

    def __init__(self, channel: Channel, seed: int = 0, origin_s: float = 0.0, window: WindowSettings | None = None) -> None:
        self._channel = channel
        self._seed = seed
        self._origin_s = origin_s
        self._window = window
        self._free_s = {Direction.UP: -math.inf, Direction.DOWN: -math.inf}
        self._entered = {Direction.UP: 0, Direction.DOWN: 0}

    def flow(self, direction: Direction) -> Flow:
        """A new ordered stream of messages in one direction, such as one connection's."""
        return Flow(self, direction, CongestionWindow(self._window) if self._window else None)

    def state(self, at_s: float) -> LinkState:
        """The channel's state at a moment of the caller's time; `until_s` is in the caller's time too."""
        state = self._channel.state(at_s - self._origin_s)
        return LinkState(state.up, state.down, until_s=state.until_s + self._origin_s)

    def set_channel(self, channel: Channel, at_s: float) -> None:
        """Go on with another channel, whose time begins now. Messages that already have a time of arrival keep it."""
        self._channel = channel
        self._origin_s = at_s

    def send(self, direction: Direction, size_bytes: int, at_s: float) -> Passage:
        """Take a message into a direction's queue, without regard to the order of any flow. Entries must not go back in time."""
        self._entered[direction] += 1
        sent_s = self._sent_s(direction, 8.0 * size_bytes, max(at_s, self._free_s[direction]))
        if math.isinf(sent_s):
            return Passage(at_s, math.inf, math.inf)  # the queue stays as it was: another channel may free it
        self._free_s[direction] = sent_s
        lost_draw, jitter_draw = _draws(self._seed, direction, self._entered[direction])
        state = self.state(sent_s)
        leg = state.leg(direction)
        lost = lost_draw < leg.loss
        deviation = min(max(_NORMAL.inv_cdf(jitter_draw), -JITTER_BOUND), JITTER_BOUND)
        arrives_s = sent_s + max(leg.delay_s + leg.jitter_s * deviation, 0.0) + (timeout_s(state) if lost else 0.0)
        return Passage(at_s, sent_s, self._after_outage_s(direction, arrives_s), lost)

    def _sent_s(self, direction: Direction, bits: float, start_s: float) -> float:
        """When `bits` whose sending starts at `start_s` are sent: the rate integrated piece by piece, exactly."""
        now_s = self._after_outage_s(direction, start_s)
        while bits > 0 and now_s < start_s + HORIZON_S:
            state = self.state(now_s)
            leg = state.leg(direction)
            rate_bps = 0.0 if leg.outage else leg.rate_bps
            needed_s = bits / rate_bps if rate_bps > 0 else math.inf
            if now_s + needed_s <= state.until_s or math.isinf(state.until_s):
                return now_s + needed_s
            bits -= rate_bps * (state.until_s - now_s)
            now_s = _later(state.until_s, now_s)
        return now_s if bits <= 0 else math.inf

    def _after_outage_s(self, direction: Direction, at_s: float) -> float:
        """`at_s`, or the end of the outage in which it falls."""
        now_s = at_s
        while now_s < at_s + HORIZON_S:
            state = self.state(now_s)
            if not state.leg(direction).outage:
                return now_s
            now_s = _later(state.until_s, now_s)
        return math.inf


class Flow:
    """A reliable stream in one direction: what enters it arrives in order, so a late message holds up those behind it."""

    def __init__(self, transit: Transit, direction: Direction, window: CongestionWindow | None = None) -> None:
        self.direction = direction
        self._transit = transit
        self._window = window
        self._last_arrival_s = -math.inf

    def send(self, size_bytes: int, at_s: float) -> Passage:
        """Take a message in at `at_s`; the answer says when it comes out. `size_bytes` may be 0 for a signal without payload."""
        passage = self._transit.send(self.direction, size_bytes, at_s)
        if math.isinf(passage.arrives_s):
            return passage
        self._last_arrival_s = max(self._last_arrival_s, passage.arrives_s + self._held_s(size_bytes, passage))
        return Passage(passage.entered_s, passage.sent_s, self._last_arrival_s, passage.lost)

    def _held_s(self, size_bytes: int, passage: Passage) -> float:
        """How much later than the link the congestion window lets the message's last byte go."""
        if self._window is None:
            return 0.0
        round_trip_s = self._transit.state(passage.entered_s).round_trip_s
        return max(self._window.earliest_s(size_bytes, passage.entered_s, round_trip_s) - passage.sent_s, 0.0)


def timeout_s(state: LinkState) -> float:
    """How long a sender waits for an acknowledgement before it sends again (RFC 6298, with Linux's least margin)."""
    return state.round_trip_s + max(MINIMUM_TIMEOUT_S, 4.0 * state.round_trip_jitter_s)


def _later(until_s: float, now_s: float) -> float:
    """`until_s`, but always past `now_s`, which rounding in a channel's own arithmetic could otherwise prevent."""
    return max(until_s, math.nextafter(now_s, math.inf))


def _draws(seed: int, direction: Direction, number: int) -> tuple[float, float]:
    """Two numbers in (0, 1), the same on every platform for a seed, a direction and a message's number."""
    digest = blake2b(f"{seed}/{direction}/{number}".encode(), digest_size=16).digest()
    first, second = (int.from_bytes(digest[place : place + 8], "little") >> 11 for place in (0, 8))
    return (first + 0.5) / 2**53, (second + 0.5) / 2**53
