"""The bar of the link: what the proxy delivers is what was asked, within 2 ms or 5 %. And the arithmetic of the measurement itself."""

import math

import pytest

from airdraft.errors import DeadlineError
from orchestration.link import Conditions, Direction, LinkSettings, build
from orchestration.link.channels.burst import BurstChannel
from orchestration.link.channels.constant import ConstantChannel
from orchestration.link.measurement import Echoes, LinkMeasurement, Plan, Throughput, asked_round_trip_s, mean_rate_bps, measure
from orchestration.link.presets import Phase
from orchestration.link.transit import Transit

SHORT = Plan(probes=30, probes_s=1.5, least_probes=5, transfer_s=0.3, transfer_bytes=4 * 1024 * 1024, deadline_s=60.0)
ATTEMPTS = 3  # the tolerance is fixed; a machine that is busy with other things gets another chance


@pytest.mark.parametrize("preset", ["loopback", "wifi", "5g", "lte", "bursty"])
async def test_a_preset_delivers_what_it_asks(preset: str) -> None:
    found: list[LinkMeasurement] = []
    for _ in range(ATTEMPTS):
        found.append(await measure(build(LinkSettings(preset=preset)), SHORT))
        if found[-1].is_as_asked():
            return
    if not all(measurement.machine_was_punctual() for measurement in found):
        late_ms = max(measurement.timer_late_s for measurement in found) * 1e3
        pytest.skip(f"this machine is too busy to judge a link: it ended its own sleeps up to {late_ms:.1f} ms late in {ATTEMPTS} attempts")
    pytest.fail(f"not within 2 ms or 5 % in {ATTEMPTS} attempts: {found}")


@pytest.mark.full
@pytest.mark.parametrize("preset", ["intercontinental", "satellite"])
async def test_a_long_link_delivers_what_it_asks(preset: str) -> None:
    await test_a_preset_delivers_what_it_asks(preset)


@pytest.mark.parametrize(
    "does",
    [
        Conditions(round_trip_s=0.030, uplink_bps=20e6, downlink_bps=20e6),
        Conditions(round_trip_s=0.005, uplink_bps=10e6, downlink_bps=20e6),
        Conditions(round_trip_s=0.005, uplink_bps=20e6, downlink_bps=10e6),
    ],
    ids=["slower round trip", "slower up", "slower down"],
)
async def test_a_proxy_that_does_not_deliver_is_found_out(does: Conditions, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ConstantChannel(Conditions(round_trip_s=0.005, uplink_bps=20e6, downlink_bps=20e6))
    monkeypatch.setattr(Transit, "state", lambda transit, at_s: does.state())
    quick = Plan(probes=9, least_probes=9, transfer_s=0.1, transfers=1)
    assert not (await measure(asked, quick)).is_as_asked()


@pytest.mark.parametrize(
    ("asked_s", "delivered_s", "good"),
    [(0.0, 0.0019, True), (0.0, 0.0021, False), (0.6, 0.629, True), (0.6, 0.631, False), (0.6, 0.569, False), (0.017, 0.0151, True)],
)
def test_the_tolerance_is_2_ms_or_5_percent(asked_s: float, delivered_s: float, good: bool) -> None:
    assert Echoes(asked_s, delivered_s, delivered_s, 0.0).is_as_asked() is good


async def test_a_measurement_that_takes_too_long_ends() -> None:
    with pytest.raises(DeadlineError, match=r"within 0\.2 s"):
        await measure(ConstantChannel(Conditions(round_trip_s=5.0)), Plan(deadline_s=0.2))


def test_a_rate_is_right_within_5_percent_and_a_link_without_one_always() -> None:
    assert [Throughput(20e6, bps).is_as_asked() for bps in (18.9e6, 19.1e6, 20.9e6, 21.1e6)] == [False, True, True, False]
    assert Throughput(math.inf, 1.0).is_as_asked()


def test_what_is_asked_of_an_echo_follows_the_channel_while_it_travels() -> None:
    channel = BurstChannel(Phase(Conditions(round_trip_s=0.1), 1.0), Phase(Conditions(round_trip_s=0.5), 1.0))
    assert asked_round_trip_s(channel, 0.5) == pytest.approx(0.1)
    assert asked_round_trip_s(channel, 0.96) == pytest.approx(0.05 + 0.25)


def test_a_mean_rate_is_the_integral_over_its_span() -> None:
    channel = BurstChannel(Phase(Conditions(uplink_bps=9e6), 1.0), Phase(Conditions(uplink_bps=1e6), 3.0))
    assert mean_rate_bps(channel, Direction.UP, 0.0, 8.0) == pytest.approx(3e6)
    assert mean_rate_bps(channel, Direction.UP, 0.5, 1.5) == pytest.approx(5e6)
    assert math.isinf(mean_rate_bps(channel, Direction.DOWN, 0.0, 1.0))
