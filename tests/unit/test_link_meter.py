import pytest

from airdraft.messages import ChannelState
from edge.link_meter import Exchange, LinkMeter


def small(elapsed_s: float, verifier_s: float = 0.0) -> Exchange:
    return Exchange(elapsed_s, verifier_s, 40, 30)


def test_nothing_is_known_at_first():
    meter = LinkMeter()
    assert meter.state() == ChannelState() and meter.jitter_s is None


def test_round_trip_leaves_out_the_verifiers_own_time():
    meter = LinkMeter()
    meter.observe(small(0.150, 0.100))
    assert meter.round_trip_s == pytest.approx(0.050)


def test_verifier_that_claims_more_time_than_passed_counts_as_no_time_on_the_link():
    meter = LinkMeter()
    meter.observe(small(0.1, 0.2))
    assert meter.round_trip_s == 0.0


def test_round_trip_is_smoothed_and_follows_a_change():
    meter = LinkMeter()
    for _ in range(20):
        meter.observe(small(0.02))
    meter.observe(small(0.10))
    assert meter.round_trip_s == pytest.approx(0.03)
    for _ in range(60):
        meter.observe(small(0.10))
    assert meter.round_trip_s == pytest.approx(0.10, rel=0.02)


def test_jitter_is_the_smoothed_deviation():
    steady, shaky = LinkMeter(), LinkMeter()
    for index in range(100):
        steady.observe(small(0.05))
        shaky.observe(small(0.04 if index % 2 else 0.06))
    assert steady.jitter_s == pytest.approx(0.0, abs=1e-6)
    assert shaky.jitter_s == pytest.approx(0.01, rel=0.2)


def test_large_first_exchange_stands_in_until_a_small_one_comes():
    meter = LinkMeter()
    meter.observe(Exchange(0.5, 0.0, 20_000, 40))
    assert meter.round_trip_s == 0.5 and meter.state().uplink_bps is None
    meter.observe(small(0.05))
    assert meter.round_trip_s == 0.05


def test_uplink_rate_shows_in_how_much_longer_a_large_message_takes():
    meter = LinkMeter()
    meter.observe(Exchange(0.05 + 20_000 * 8 / 1e6, 0.0, 20_000, 40))
    for _ in range(30):
        meter.observe(small(0.05))
    assert meter.state().uplink_bps == pytest.approx(1e6, rel=0.01)
    assert meter.state().downlink_bps is None


def test_downlink_rate_likewise():
    meter = LinkMeter()
    for _ in range(30):
        meter.observe(small(0.05))
    meter.observe(Exchange(0.05 + 4_000 * 8 / 2e6, 0.0, 40, 4_000))
    assert meter.state().downlink_bps == pytest.approx(2e6, rel=0.01)


def test_rate_stays_unknown_when_the_transfer_drowns_in_jitter():
    meter = LinkMeter()
    for index in range(100):
        meter.observe(small(0.04 if index % 2 else 0.06))
    meter.observe(Exchange(0.055, 0.0, 1_000, 40))
    assert meter.state().uplink_bps is None


def test_large_exchanges_do_not_disturb_the_round_trip():
    meter = LinkMeter()
    meter.observe(small(0.05))
    meter.observe(Exchange(1.0, 0.0, 20_000, 40))
    assert meter.round_trip_s == 0.05
