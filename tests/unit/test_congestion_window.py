"""The congestion window: nothing for small messages, whole round trips for large ones after silence."""

import pytest

from orchestration.link import Conditions, Direction, LinkSettings, build
from orchestration.link.channels.constant import ConstantChannel
from orchestration.link.transit import Transit
from orchestration.link.window import CongestionWindow, WindowSettings

WINDOW = WindowSettings(initial_bytes=10_000, idle_s=0.2)


@pytest.mark.parametrize(("size", "round_trips"), [(1, 0), (10_000, 0), (10_001, 1), (30_000, 1), (30_001, 2), (70_000, 2), (70_001, 3)])
def test_a_burst_takes_the_round_trips_of_slow_start(size: int, round_trips: int) -> None:
    assert CongestionWindow(WINDOW).round_trips(size) == round_trips


def test_small_messages_are_never_held() -> None:
    window = CongestionWindow(WINDOW)
    assert [window.earliest_s(60, at, 0.05) for at in (0.0, 0.05, 5.0, 9.0)] == [0.0, 0.05, 5.0, 9.0]


def test_a_large_message_after_silence_waits_and_right_behind_another_does_not() -> None:
    window = CongestionWindow(WINDOW)
    assert window.earliest_s(30_000, 1.0, 0.05) == pytest.approx(1.05)
    assert window.earliest_s(30_000, 1.2, 0.05) == pytest.approx(1.2)  # the window has grown, and is still there
    assert window.earliest_s(30_000, 3.0, 0.05) == pytest.approx(3.05)  # it has collapsed


def test_a_flow_with_a_window_delivers_a_prompt_later_and_a_draft_no_later() -> None:
    channel = ConstantChannel(Conditions(round_trip_s=0.1, uplink_bps=1e9, downlink_bps=1e9))
    plain, windowed = Transit(channel).flow(Direction.UP), Transit(channel, window=WINDOW).flow(Direction.UP)
    for size, at_s, extra_s in ((60, 0.0, 0.0), (25_000, 2.0, 0.1), (60, 2.05, 0.0)):
        late, soon = windowed.send(size, at_s), plain.send(size, at_s)
        expected = max(soon.arrives_s + extra_s, 2.15 if at_s == 2.05 else 0.0)  # what follows a late message waits for it
        assert late.arrives_s == pytest.approx(expected, abs=1e-3)


def test_a_slow_link_hides_the_window() -> None:
    channel = ConstantChannel(Conditions(round_trip_s=0.02, uplink_bps=1e6))
    plain, windowed = Transit(channel).flow(Direction.UP), Transit(channel, window=WINDOW).flow(Direction.UP)
    assert windowed.send(50_000, 0.0).arrives_s == pytest.approx(plain.send(50_000, 0.0).arrives_s)


def test_the_window_is_a_setting_of_the_link() -> None:
    settings = LinkSettings.parse({"preset": "lte", "window": {"idle_s": 0.5}})
    assert settings.window == WindowSettings(idle_s=0.5) and build(settings).state(0.0).up.rate_bps == 10e6
