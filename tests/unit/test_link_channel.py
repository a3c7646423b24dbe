"""The channels and the settings that choose them: values, periods, refusals."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airdraft.errors import SettingsError
from orchestration.link import CHANNELS, PRESETS, Conditions, LinkSettings, build
from orchestration.link.capacity import DOWNLINK_MODEM, SHANNON, UPLINK_MODEM
from orchestration.link.channels.burst import BurstChannel
from orchestration.link.presets import Phase


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_says_where_its_figures_come_from(name: str) -> None:
    preset = PRESETS[name]
    state = build(LinkSettings(preset=name)).state(0.0)
    conditions = preset.phases[0].conditions
    assert state.round_trip_s == pytest.approx(conditions.round_trip_s)
    assert state.round_trip_jitter_s == pytest.approx(conditions.jitter_s)
    assert (state.up.rate_bps, state.down.rate_bps) == (conditions.uplink_bps, conditions.downlink_bps)
    assert len(preset.source) > 20 and preset.channel in CHANNELS


def test_the_presets_that_the_demo_promises_exist() -> None:
    assert set(PRESETS) == {"loopback", "wifi", "5g", "lte", "intercontinental", "satellite", "bursty"}


def test_nothing_given_is_loopback_which_impairs_nothing() -> None:
    state = build(LinkSettings()).state(0.0)
    assert state.round_trip_s == 0 and math.isinf(state.up.rate_bps) and state.up.loss == 0 and math.isinf(state.until_s)


def test_overrides_replace_the_presets_figures() -> None:
    settings = LinkSettings(preset="lte", round_trip_ms=100, jitter_ms=0, uplink_mbps=2, downlink_mbps=4, loss=0.1)
    state = build(settings).state(3.0)
    assert (state.up.delay_s, state.up.jitter_s, state.up.rate_bps, state.up.loss) == (0.05, 0.0, 2e6, 0.1)
    assert (state.down.delay_s, state.down.rate_bps) == (0.05, 4e6)


def test_an_override_reaches_both_phases_of_a_bursty_link_and_leaves_the_rest() -> None:
    channel = build(LinkSettings(preset="bursty", loss=0.5))
    assert [channel.state(at).up.loss for at in (0.0, 9.0)] == [0.5, 0.5]
    assert [channel.state(at).up.rate_bps for at in (0.0, 9.0)] == [15e6, 2e6]


def test_a_burst_alternates_for_ever_and_says_when_it_changes() -> None:
    good, poor = Conditions(round_trip_s=0.04), Conditions(round_trip_s=0.25)
    channel = BurstChannel(Phase(good, 8.0), Phase(poor, 2.0))
    seen = [(channel.state(at).round_trip_s, channel.state(at).until_s) for at in (-1.0, 0.0, 7.999, 8.0, 9.5, 10.0, 1008.5)]
    assert seen == [(0.04, 8.0), (0.04, 8.0), (0.04, 8.0), (0.25, 10.0), (0.25, 10.0), (0.04, 18.0), (0.25, 1010.0)]


@given(at_s=st.floats(0, 1e6), preset=st.sampled_from(sorted(PRESETS)))
def test_a_state_lasts_to_its_stated_end(at_s: float, preset: str) -> None:
    channel = build(LinkSettings(preset=preset))
    state = channel.state(at_s)
    until_s = min(state.until_s, at_s + 100.0)
    assert until_s >= at_s
    middle = channel.state(at_s + (until_s - at_s) / 2)
    assert (middle.up, middle.down) == (state.up, state.down)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"preset": "5gg"}, "Did you mean '5g'"),
        ({"preset": "lte", "trace": "drive.csv"}, "exclude each other"),
        ({"trace": "drive.csv", "round_trip_ms": 5}, "round_trip_ms cannot be set with a trace"),
        ({"uplink_mbs": 5}, "Did you mean 'uplink_mbps'"),
        ({"loss": 1.0}, "loss"),
        ({"uplink_mbps": 0}, "uplink_mbps"),
        ({"round_trip_ms": math.nan}, "round_trip_ms"),
        ({"at_end": "stop"}, "at_end"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(values: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        LinkSettings.parse(values, "link")


def test_a_link_is_named_after_its_preset_or_its_trace() -> None:
    assert [LinkSettings().name, LinkSettings(preset="5g").name, LinkSettings(trace=Path("a/drive.csv")).name] == [
        "loopback",
        "5g",
        "drive",
    ]


def test_shannon_gives_one_bit_per_hertz_at_0_db_and_modems_stay_below_it() -> None:
    assert SHANNON.rate_bps(0.0, 1e6) == pytest.approx(1e6)
    assert SHANNON.rate_bps(10.0, 1e6) == pytest.approx(1e6 * math.log2(11))
    assert DOWNLINK_MODEM.rate_bps(10.0, 1e6) == pytest.approx(0.6e6 * math.log2(11))
    assert UPLINK_MODEM.rate_bps(10.0, 1e6) == pytest.approx(0.4e6 * math.log2(11))


def test_a_modem_is_capped_above_and_silent_below() -> None:
    assert DOWNLINK_MODEM.rate_bps(60.0, 1e6) == pytest.approx(4.4e6)
    assert UPLINK_MODEM.rate_bps(60.0, 1e6) == pytest.approx(2.0e6)
    assert DOWNLINK_MODEM.rate_bps(-10.1, 1e6) == 0.0
