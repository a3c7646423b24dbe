"""Transit against closed forms: fluid transfer, order, queueing, jitter, loss, outages, and the same luck for the same seed."""

import math
from statistics import fmean, median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.link import Conditions, Direction, LegState, LinkSettings, LinkState, build
from orchestration.link.channels.burst import BurstChannel
from orchestration.link.channels.constant import ConstantChannel
from orchestration.link.presets import PRESETS, Phase
from orchestration.link.transit import Flow, Transit, timeout_s

UP, DOWN = Direction.UP, Direction.DOWN


class Stepwise:
    """A channel given as (from when, uplink) steps."""

    def __init__(self, *steps: tuple[float, LegState]) -> None:
        self._steps = steps

    def state(self, at_s: float) -> LinkState:
        place = max(index for index, (start_s, _) in enumerate(self._steps) if index == 0 or start_s <= at_s)
        until_s = self._steps[place + 1][0] if place + 1 < len(self._steps) else math.inf
        return LinkState(self._steps[place][1], LegState(), until_s)


def up_flow(channel: object, seed: int = 0) -> Flow:
    return Transit(channel, seed).flow(UP)  # type: ignore[arg-type]  # small fakes


def test_a_message_takes_its_bits_over_the_rate_and_then_the_delay() -> None:
    flow = up_flow(ConstantChannel(Conditions(round_trip_s=0.1, uplink_bps=1e6)))
    passage = flow.send(1250, 2.0)  # 10,000 bits
    assert (passage.entered_s, passage.sent_s, passage.arrives_s) == pytest.approx((2.0, 2.01, 2.06))


def test_the_rate_is_integrated_over_the_transfer_and_not_taken_at_its_start() -> None:
    """1 Mbit at 1 Mbit/s for 0.5 s, then at 0.25 Mbit/s: the second half takes 2 s. The rate at the start would say 1 s in all."""
    flow = up_flow(Stepwise((0.0, LegState(1e6)), (0.5, LegState(0.25e6))))
    assert flow.send(125_000, 0.0).arrives_s == pytest.approx(2.5)


def test_a_transfer_over_many_periods_of_a_burst_meets_its_mean_rate() -> None:
    """9 and 1 Mbit/s, half a second each: 5 Mbit/s; 50 Mbit take exactly ten periods."""
    channel = BurstChannel(Phase(Conditions(uplink_bps=9e6), 0.5), Phase(Conditions(uplink_bps=1e6), 0.5))
    assert up_flow(channel).send(50_000_000 // 8, 0.0).arrives_s == pytest.approx(10.0)
    assert up_flow(channel).send(50_000_000 // 8, 7.3).arrives_s == pytest.approx(17.3)


@given(sizes=st.lists(st.integers(0, 100_000), min_size=1, max_size=30), start_s=st.floats(0, 50))
def test_chunks_back_to_back_take_as_long_as_their_sum(sizes: list[int], start_s: float) -> None:
    channel = build(LinkSettings(preset="bursty", jitter_ms=0))
    pieces, whole = up_flow(channel), up_flow(channel)
    for size in sizes:
        last = pieces.send(size, start_s)
    assert last.sent_s == pytest.approx(whole.send(sum(sizes), start_s).sent_s, abs=1e-6)


def test_back_to_back_chunks_reach_the_rate_and_do_not_pass_it() -> None:
    flow = up_flow(build(LinkSettings(preset="5g", loss=0)))
    arrivals = [flow.send(8192, 0.0).arrives_s for _ in range(2000)]
    assert 1999 * 8192 * 8 / (arrivals[-1] - arrivals[0]) == pytest.approx(20e6, rel=0.01)


def test_a_message_waits_for_those_ahead_of_it_on_any_flow_of_its_direction_only() -> None:
    transit = Transit(ConstantChannel(Conditions(uplink_bps=1e6, downlink_bps=1e6)))
    assert transit.flow(UP).send(125_000, 0.0).sent_s == pytest.approx(1.0)
    assert transit.flow(UP).send(125, 0.1).sent_s == pytest.approx(1.001)
    assert transit.flow(DOWN).send(125, 0.1).sent_s == pytest.approx(0.101)


@given(
    preset=st.sampled_from(sorted(PRESETS)),
    gaps_s=st.lists(st.floats(0, 0.5), min_size=2, max_size=40),
    seed=st.integers(0, 2**64 - 1),
    direction=st.sampled_from(list(Direction)),
)
def test_order_is_kept_whatever_the_jitter_and_the_loss(preset: str, gaps_s: list[float], seed: int, direction: Direction) -> None:
    flow = Transit(build(LinkSettings(preset=preset, jitter_ms=200, loss=0.3)), seed).flow(direction)
    now_s, last_s = 0.0, 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        passage = flow.send(500, now_s)
        assert now_s <= passage.sent_s <= passage.arrives_s and last_s <= passage.arrives_s
        last_s = passage.arrives_s


def test_jitter_leaves_the_median_and_has_the_deviation_that_was_asked() -> None:
    transit = Transit(ConstantChannel(Conditions(round_trip_s=0.2, jitter_s=0.02)), seed=3)
    trips = []
    for number in range(20_000):
        up_s = transit.flow(UP).send(1, float(number)).arrives_s
        trips.append(transit.flow(DOWN).send(1, up_s).arrives_s - number)
    assert median(trips) == pytest.approx(0.2, abs=0.0006)  # 3 standard errors
    assert stdev(trips) == pytest.approx(0.02, rel=0.03)


def test_losses_come_as_often_as_asked_and_cost_one_timeout() -> None:
    channel = ConstantChannel(Conditions(round_trip_s=0.1, loss=0.03))
    flow = up_flow(channel, seed=11)
    passages = [flow.send(100, 2.0 * number) for number in range(50_000)]
    assert fmean(passage.lost for passage in passages) == pytest.approx(0.03, abs=4 * math.sqrt(0.03 * 0.97 / 50_000))
    delays = {round(passage.arrives_s - passage.entered_s, 6): passage.lost for passage in passages}
    assert delays == {0.05: False, 0.35: True}, "half a round trip, or that and a round trip and 200 ms"


def test_a_timeout_grows_with_the_round_trips_jitter() -> None:
    assert timeout_s(Conditions(round_trip_s=0.1).state()) == pytest.approx(0.3)
    assert timeout_s(Conditions(round_trip_s=0.6, jitter_s=0.1).state()) == pytest.approx(1.0)


def test_a_lost_message_holds_up_its_own_flow_and_no_other() -> None:
    transit = Transit(ConstantChannel(Conditions(round_trip_s=0.1, loss=0.999999999)), seed=0)
    held, other = transit.flow(UP), transit.flow(UP)
    lost = held.send(100, 0.0)
    transit.set_channel(ConstantChannel(Conditions(round_trip_s=0.1)), 0.0)
    assert lost.lost
    assert held.send(100, 0.01).arrives_s == lost.arrives_s
    assert other.send(100, 0.02).arrives_s == pytest.approx(0.07)


def test_an_outage_stops_a_transfer_which_then_goes_on_where_it_was() -> None:
    flow = up_flow(Stepwise((0.0, LegState(1e6, 0.1)), (1.0, LegState(1e6, 0.1, outage=True)), (5.0, LegState(1e6, 0.1))))
    assert flow.send(250_000, 0.0).arrives_s == pytest.approx(6.1)  # one of two seconds is sent before it


def test_what_would_arrive_or_enter_in_an_outage_waits_for_its_end() -> None:
    channel = Stepwise((0.0, LegState(delay_s=0.1)), (1.0, LegState(delay_s=0.1, outage=True)), (5.0, LegState(delay_s=0.1)))
    assert up_flow(channel).send(10, 0.95).arrives_s == pytest.approx(5.0)
    assert up_flow(channel).send(0, 2.0).arrives_s == pytest.approx(5.1)


def test_an_outage_without_end_is_never_and_another_channel_frees_the_queue() -> None:
    transit = Transit(Stepwise((0.0, LegState(outage=True))))
    flow = transit.flow(UP)
    assert math.isinf(flow.send(10, 0.0).arrives_s)
    transit.set_channel(ConstantChannel(Conditions(round_trip_s=0.2)), 10.0)
    assert flow.send(10, 10.0).arrives_s == pytest.approx(10.1)


def test_a_rate_of_nothing_is_never_too_and_ends() -> None:
    assert math.isinf(up_flow(Stepwise((0.0, LegState(rate_bps=0.0)))).send(10, 0.0).arrives_s)
    dead = BurstChannel(Phase(Conditions(uplink_bps=0.0), 1.0), Phase(Conditions(uplink_bps=0.0), 1.0))
    assert math.isinf(up_flow(dead).send(10, 0.0).arrives_s)


def test_the_channels_time_begins_at_the_origin() -> None:
    channel = BurstChannel(Phase(Conditions(round_trip_s=0.02), 8.0), Phase(Conditions(round_trip_s=0.4), 2.0))
    transit = Transit(channel, origin_s=1000.0)
    assert transit.flow(UP).send(1, 1007.0).arrives_s == pytest.approx(1007.01)
    assert transit.flow(UP).send(1, 1009.0).arrives_s == pytest.approx(1009.2)
    assert transit.state(1009.0).until_s == pytest.approx(1010.0)


def test_luck_follows_from_the_seed() -> None:
    def arrivals(seed: int) -> list[float]:
        flow = up_flow(build(LinkSettings(preset="wifi", loss=0.2)), seed)
        return [flow.send(100, 0.1 * number).arrives_s for number in range(100)]

    assert arrivals(5) == arrivals(5)
    assert arrivals(5) != arrivals(6)


def test_luck_is_the_same_on_every_platform() -> None:
    flow = up_flow(ConstantChannel(Conditions(round_trip_s=0.1, jitter_s=0.01, loss=0.2)), seed=42)
    delays_s = [round(flow.send(1, float(number)).arrives_s - number, 6) for number in range(6)]
    assert delays_s == [0.052755, 0.046371, 0.046838, 0.060888, 0.06011, 0.051939]
