"""What the device hears of its radio: late, at intervals, and noisy."""

from statistics import mean, stdev

import pytest

from airdraft.messages import ChannelState
from edge.link_meter import Exchange, LinkMeter
from orchestration.link import LinkSettings, build
from orchestration.link.channel import LegState, LinkState
from orchestration.link.reports import RadioReports, ReportSettings

EXACT = ReportSettings(interval_ms=100, delay_ms=0, snr_noise_db=0, round_trip_noise=0, round_trip=True)


def ramp(at_s: float) -> LinkState:
    """A ratio that rises by one decibel a second."""
    leg = LegState(rate_bps=1e6 + at_s, delay_s=0.01, snr_db=at_s)
    return LinkState(leg, leg, at_s + 0.001)


def reports(at: list[float], settings: ReportSettings, seed: int = 0) -> list[ChannelState]:
    times = iter(at)
    said = RadioReports(ramp, lambda: next(times), settings, seed)
    return [said() for _ in at]


def test_a_report_stands_until_the_next() -> None:
    assert [state.snr_db for state in reports([0.0, 0.05, 0.0999, 0.1, 0.25], EXACT)] == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_a_report_is_as_old_as_was_set() -> None:
    late = EXACT.model_copy(update={"delay_ms": 250})
    assert [state.snr_db for state in reports([1.0, 2.0], late)] == pytest.approx([0.75, 1.75])


def test_the_noise_has_the_set_spread_and_is_the_same_for_a_seed() -> None:
    noisy = EXACT.model_copy(update={"snr_noise_db": 2.0})
    at = [0.1 * number for number in range(3000)]
    errors = [(state.snr_db or 0.0) - when for state, when in zip(reports(at, noisy), at, strict=True)]
    assert mean(errors) == pytest.approx(0.0, abs=0.25) and stdev(errors) == pytest.approx(2.0, rel=0.1)
    assert reports(at[:50], noisy) == reports(at[:50], noisy) != reports(at[:50], noisy, seed=1)


def test_the_round_trip_is_reported_only_when_asked_for() -> None:
    assert reports([0.0], EXACT)[0].round_trip_s == pytest.approx(0.02)
    assert reports([0.0], ReportSettings())[0].round_trip_s is None


def test_a_link_without_a_radio_reports_no_ratio_and_no_endless_rate() -> None:
    said = RadioReports(build(LinkSettings()).state, lambda: 0.0, ReportSettings())()
    assert said == ChannelState()


def test_the_meter_prefers_the_modems_word_and_keeps_its_own_round_trip() -> None:
    meter = LinkMeter(modem=lambda: ChannelState(snr_db=12.0, uplink_bps=3e6))
    meter.observe(Exchange(0.05, 0.01, 60, 60))
    state = meter.state()
    assert (state.snr_db, state.uplink_bps, state.downlink_bps) == (12.0, 3e6, None)
    assert state.round_trip_s == pytest.approx(0.04)
