"""Each channel of the radio against its closed form, with fixed seeds."""

import math
import os
from pathlib import Path
from statistics import mean, median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import exp1, j0

from airdraft.errors import SettingsError
from orchestration.link import Channel, LinkSettings, build
from orchestration.link.channel import Direction
from orchestration.link.channels.gilbert_elliott import GilbertElliottParameters
from orchestration.link.channels.outages import OutageParameters
from orchestration.link.channels.trace import read_trace
from orchestration.link.fading import ScatteredGains, bessel_j0, clarke_correlation
from orchestration.link.transit import Transit

BLOCK_S = 0.01
BLOCKS = 40_000


def link(channel: str, **parameters: object) -> Channel:
    return build(LinkSettings(channel=channel, parameters=parameters, bandwidth_mhz=2.0, uplink_share=0.5, seed=5))


def snr_ratios(channel: Channel, blocks: int = BLOCKS) -> np.ndarray:
    states = (channel.state((block + 0.5) * BLOCK_S) for block in range(blocks))
    return np.array([10.0 ** ((state.down.snr_db or 0.0) / 10.0) for state in states])


def independent(channel: str, mean_snr_db: float, **parameters: object) -> Channel:
    """Blocks without correlation: a Doppler at the first zero of J0."""
    return link(channel, mean_snr_db=mean_snr_db, doppler_hz=2.404825557695773 / (2 * math.pi * BLOCK_S), **parameters)


# --- fading


@pytest.mark.parametrize("x", [0.0, 0.3, 1.0, 2.404825557695773, 5.0, 14.9, 80.0])
def test_bessel_j0_is_that_of_scipy(x: float) -> None:
    assert bessel_j0(x) == pytest.approx(float(j0(x)), abs=1e-12)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_rayleigh_has_the_ergodic_capacity_of_the_closed_form(snr_db: float) -> None:
    ratio = 10.0 ** (snr_db / 10.0)
    expected = math.exp(1.0 / ratio) * float(exp1(1.0 / ratio)) / math.log(2.0)
    channel = independent("rayleigh", snr_db)
    measured = mean(channel.state((block + 0.5) * BLOCK_S).down.rate_bps for block in range(BLOCKS)) / 1e6
    assert measured == pytest.approx(expected, rel=0.015)


def test_rayleigh_at_10_db_carries_2_90_bits_per_second_and_hertz() -> None:
    assert math.exp(0.1) * float(exp1(0.1)) / math.log(2.0) == pytest.approx(2.90, abs=0.01)


@pytest.mark.parametrize("rate", [0.5, 2.0, 4.0])
def test_rayleigh_is_below_a_rate_as_often_as_the_outage_formula_says(rate: float) -> None:
    ratio = 10.0
    expected = 1.0 - math.exp(-(2.0**rate - 1.0) / ratio)
    measured = float(np.mean(np.log2(1.0 + snr_ratios(independent("rayleigh", 10.0))) < rate))
    deviation = math.sqrt(expected * (1 - expected) / BLOCKS)
    assert abs(measured - expected) < 4 * deviation


def test_rayleigh_is_exponential_around_its_mean() -> None:
    ratios = snr_ratios(independent("rayleigh", 10.0)) / 10.0
    assert ratios.mean() == pytest.approx(1.0, abs=0.02) and ratios.std() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("doppler_hz", [2.0, 10.0, 40.0])
def test_neighbouring_gains_are_correlated_as_clarke_says(doppler_hz: float) -> None:
    gains = ScatteredGains(clarke_correlation(doppler_hz, BLOCK_S), (7, 1))
    series = np.array([gains.gain(block) for block in range(60_000)])
    power = float(np.mean(np.abs(series) ** 2))
    measured = np.vdot(series[:-1], series[1:]) / (len(series) - 1) / power
    assert measured.real == pytest.approx(float(j0(2 * math.pi * doppler_hz * BLOCK_S)), abs=0.02)
    assert measured.imag == pytest.approx(0.0, abs=0.02)


def test_a_faster_device_sees_a_faster_channel() -> None:
    slow, fast = (snr_ratios(link("rayleigh", mean_snr_db=10, doppler_hz=hz), 4000) for hz in (1.0, 20.0))
    assert np.abs(np.diff(fast)).mean() > 4 * np.abs(np.diff(slow)).mean()


@pytest.mark.parametrize("k_db", [-30.0, 0.0, 6.0, 10.0])
def test_rician_has_the_mean_and_spread_of_its_k(k_db: float) -> None:
    k = 10.0 ** (k_db / 10.0)
    ratios = snr_ratios(independent("rician", 10.0, k_db=k_db)) / 10.0
    assert ratios.mean() == pytest.approx(1.0, abs=0.02)
    assert ratios.var() == pytest.approx((2 * k + 1) / (k + 1) ** 2, rel=0.06)


def test_both_directions_fade_alike_only_when_reciprocal() -> None:
    alike, apart = (link("rayleigh", mean_snr_db=10, reciprocal=reciprocal) for reciprocal in (True, False))
    assert all(state.up.snr_db == state.down.snr_db for state in (alike.state(at / 7) for at in range(50)))
    assert any(state.up.snr_db != state.down.snr_db for state in (apart.state(at / 7) for at in range(50)))


# --- mean SNR and band


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0, 15.0, 20.0])
@pytest.mark.parametrize("bandwidth_mhz", [0.5, 1.0, 5.0, 10.0])
def test_a_cell_of_the_grid_has_shannons_rate(snr_db: float, bandwidth_mhz: float) -> None:
    settings = LinkSettings(channel="snr", parameters={"mean_snr_db": snr_db}, bandwidth_mhz=bandwidth_mhz, uplink_share=0.25)
    state = build(settings).state(3.0)
    bits_per_hertz = math.log2(1.0 + 10.0 ** (snr_db / 10.0))
    assert state.up.rate_bps == pytest.approx(0.25e6 * bandwidth_mhz * bits_per_hertz)
    assert state.down.rate_bps == pytest.approx(0.75e6 * bandwidth_mhz * bits_per_hertz)
    assert state.up.snr_db == pytest.approx(snr_db) and math.isinf(state.until_s)


@pytest.mark.parametrize(("share", "ratio"), [(1 / 4, 3), (1 / 11, 10)])
def test_the_uplinks_share_makes_the_rates_asymmetric(share: float, ratio: float) -> None:
    state = build(LinkSettings(channel="snr", parameters={"mean_snr_db": 10}, uplink_share=share)).state(0.0)
    assert state.down.rate_bps / state.up.rate_bps == pytest.approx(ratio)


def test_delay_and_loss_stay_those_of_the_preset() -> None:
    settings = LinkSettings(preset="lte", channel="rayleigh", parameters={"mean_snr_db": 10})
    state = build(settings).state(1.0)
    assert state.round_trip_s == pytest.approx(0.045) and state.up.loss == 0.001 and settings.name == "lte-rayleigh"


# --- bursts of loss, outages


def test_gilbert_elliott_loses_its_stationary_share_in_bursts_of_the_mean_length() -> None:
    parameters = GilbertElliottParameters(slot_ms=20, good_to_bad=0.02, bad_to_good=0.2)
    channel = link("gilbert-elliott", **parameters.model_dump())
    bad = [channel.state((slot + 0.5) * 0.02).up.loss == 1.0 for slot in range(100_000)]
    bursts = sum(now and not before for before, now in zip([False, *bad], bad, strict=False))
    assert mean(bad) == pytest.approx(parameters.stationary_loss, rel=0.08)
    assert parameters.stationary_loss == pytest.approx(1 / 11)
    assert sum(bad) / bursts == pytest.approx(1 / 0.2, rel=0.08)


def test_a_loss_is_a_delay_and_never_a_lost_message() -> None:
    transit = Transit(link("gilbert-elliott", good_to_bad=0.2, bad_to_good=0.2), seed=3)
    flow = transit.flow(Direction.UP)
    passages = [flow.send(100, 0.05 * number) for number in range(400)]
    assert 0.3 < mean(passage.lost for passage in passages) < 0.7
    assert all(math.isfinite(passage.arrives_s) for passage in passages)


@pytest.mark.parametrize("regular", [True, False])
def test_outages_take_their_share_of_the_time(regular: bool) -> None:
    parameters = OutageParameters(up_s=8.0, outage_s=2.0, regular=regular)
    channel = link("outages", **parameters.model_dump())
    up = [not channel.state(0.1 * at).up.outage for at in range(400_000)]
    assert mean(up) == pytest.approx(parameters.availability, abs=0.012)


def test_nothing_passes_during_an_outage() -> None:
    transit = Transit(link("outages", up_s=8.0, outage_s=2.0, regular=True))
    assert transit.send(Direction.UP, 100, 9.0).arrives_s == pytest.approx(10.0)


# --- all


RANDOM = {
    "rayleigh": {"mean_snr_db": 10},
    "rician": {"mean_snr_db": 10, "reciprocal": False},
    "gilbert-elliott": {},
    "outages": {},
    "snr": {"mean_snr_db": 3},
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_state_depends_on_its_time_alone(name: str) -> None:
    times = [3.3, 0.0, 700.0, 12.25, 3.3, 699.99]
    forwards, backwards = link(name, **RANDOM[name]), link(name, **RANDOM[name])
    assert [forwards.state(at) for at in times] == [backwards.state(at) for at in reversed(times)][::-1]


@pytest.mark.parametrize("name", RANDOM)
@given(at_s=st.floats(0, 1e4))
def test_a_state_lasts_to_its_stated_end_and_time_goes_on(name: str, at_s: float) -> None:
    channel = CHANNELS[name]
    state = channel.state(at_s)
    assert state.until_s > at_s
    middle_s = at_s + (min(state.until_s, at_s + 1.0) - at_s) / 2
    middle = channel.state(middle_s if middle_s < state.until_s else at_s)
    assert (middle.up, middle.down) == (state.up, state.down)


CHANNELS = {name: link(name, **parameters) for name, parameters in RANDOM.items()}


@pytest.mark.parametrize("name", ["rayleigh", "rician", "gilbert-elliott", "outages"])
def test_another_seed_is_another_channel(name: str) -> None:
    first, second = (build(LinkSettings(channel=name, parameters=RANDOM[name], seed=seed)) for seed in (1, 2))
    assert any(first.state(at / 3) != second.state(at / 3) for at in range(3000))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"channel": "raileigh"}, "Did you mean 'rayleigh'"),
        ({"channel": "rayleigh", "parameters": {"mean_snr": 3}}, "Did you mean 'mean_snr_db'"),
        ({"channel": "rayleigh", "parameters": {"mean_snr_db": 10}, "uplink_mbps": 3}, "follow from its SNR"),
        ({"channel": "outages", "parameters": {"outage_s": 0}}, "outage_s"),
        ({"parameters": {"mean_snr_db": 3}}, "name the channel"),
        ({"channel": "snr", "trace": "drive.csv"}, "exclude each other"),
    ],
)
def test_what_cannot_be_is_refused_in_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        build(LinkSettings.parse(settings, "link"))


# --- traces


def test_delay_and_ratio_of_a_trace_come_from_the_same_row(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("time_ms,rtt_ms,sinr_db,rsrp_dbm\n0,20,15,-80\n1000,60,3,-100\n2000,30,9,-90\n")
    channel = build(LinkSettings(trace=path))
    seen = [(channel.state(at).round_trip_s, channel.state(at).down.snr_db) for at in (0.2, 1.2, 2.2)]
    assert seen == [(pytest.approx(0.02), 15.0), (pytest.approx(0.06), 3.0), (pytest.approx(0.03), 9.0)]


@pytest.mark.skipif("AIRDRAFT_DATA" not in os.environ, reason="needs the measured 5G drives: set AIRDRAFT_DATA")
def test_a_replayed_drive_gives_back_its_own_statistics() -> None:
    path = Path(os.environ["AIRDRAFT_DATA"]) / "traces" / "cicv5g_urban_n78_v30.csv"
    rows, channel = read_trace(path), build(LinkSettings(trace=path))
    states = [channel.state(row.time_s + 1e-4) for row in rows]
    assert median(state.down.snr_db or 0.0 for state in states) == median(row.sinr_db for row in rows)
    assert median(state.round_trip_s for state in states) == pytest.approx(median(row.round_trip_s for row in rows), rel=0.01)
    late, measured = sorted(state.round_trip_s for state in states), sorted(row.round_trip_s for row in rows)
    assert late[-len(late) // 20] == pytest.approx(measured[-len(measured) // 20], rel=0.05)
