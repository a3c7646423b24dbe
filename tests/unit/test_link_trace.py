"""Trace channels: reading, refusals by line number, rates from SINR, delays that add up to the measured round trips, looping."""

import os
from pathlib import Path
from statistics import quantiles

import pytest

from airdraft.errors import SettingsError
from orchestration.link import LinkSettings, build
from orchestration.link.capacity import DOWNLINK_MODEM, UPLINK_MODEM
from orchestration.link.channel import Direction
from orchestration.link.channels.trace import COLUMNS, Radio, TraceChannel, TraceRow, one_way_delays, parse_trace, read_trace
from orchestration.link.measurement import asked_round_trip_s
from orchestration.link.transit import Transit

HEADER = ",".join(COLUMNS)
WALK = Path(__file__).parents[2] / "deploy" / "traces" / "walk.csv"
DATA = os.environ.get("AIRDRAFT_DATA")
MEASURED = sorted((Path(DATA) / "traces").glob("*.csv")) if DATA else []


def rows_of(*cells: tuple[float, float, float]) -> list[TraceRow]:
    """Rows of (time ms, round trip ms, SINR dB)."""
    return [TraceRow(time_ms / 1e3, round_trip_ms / 1e3, sinr_db, -80.0) for time_ms, round_trip_ms, sinr_db in cells]


def test_times_count_from_the_first_row_and_columns_may_stand_in_any_order() -> None:
    rows = parse_trace(["rsrp_dbm,cell,time_ms,rtt_ms,sinr_db", "-77,n78,5000,20,12.5", "-78,n78,5050,22,11"], "drive.csv")
    assert rows == [TraceRow(0.0, 0.020, 12.5, -77.0), TraceRow(5.05 - 5.0, 0.022, 11.0, -78.0)]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "line 1: no column time_ms"),
        (["time_ms,rtt_ms,rsrp_dbm", "0,1,2"], "line 1: no column sinr_db"),
        ([HEADER], "no rows after the header"),
        ([HEADER, "0,20,10,-80", "50,fast,10,-80"], "line 3: rtt_ms is 'fast'"),
        ([HEADER, "0,20,10,-80", "50,20,,-80"], "line 3: sinr_db is ''"),
        ([HEADER, "0,20,nan,-80"], "line 2: sinr_db is 'nan'"),
        ([HEADER, "0,20,10,-80", "", "50,20"], "line 4: 2 values"),
        ([HEADER, "0,-1,10,-80"], "line 2: rtt_ms is -1"),
        ([HEADER, "0,20,10,-80", "50,20,10,-80", "50,20,10,-80"], "line 4: time_ms is 50, not later"),
    ],
)
def test_a_malformed_trace_is_refused_with_its_line(lines: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as refusal:
        parse_trace(lines, "drive.csv")
    assert refusal.value.message.startswith("drive.csv")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "drive.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"drive\.csv.*readable CSV"):
        build(LinkSettings(trace=path))


def test_rates_follow_sinr_over_the_shared_bandwidth() -> None:
    state = TraceChannel(rows_of((0, 20, 10)), Radio(bandwidth_hz=20e6, uplink_share=0.25)).state(0.0)
    assert state.up.rate_bps == pytest.approx(UPLINK_MODEM.rate_bps(10, 5e6))
    assert state.down.rate_bps == pytest.approx(DOWNLINK_MODEM.rate_bps(10, 15e6))
    assert state.up.snr_db == state.down.snr_db == 10


def test_a_signal_below_what_a_modem_holds_is_an_outage_even_with_a_rate_given() -> None:
    channel = TraceChannel(rows_of((0, 20, 10), (50, 20, -15)), Radio(uplink_bps=3e6))
    assert (channel.state(0.0).up.rate_bps, channel.state(0.0).up.outage) == (3e6, False)
    assert channel.state(0.06).up.outage and channel.state(0.06).down.outage


def test_a_row_holds_until_the_next_and_the_trace_starts_again() -> None:
    channel = TraceChannel(rows_of((0, 20, 10), (100, 40, 10), (200, 60, 10)), Radio(), loop=True)
    seen = [(round(channel.state(at).round_trip_s, 6), round(channel.state(at).until_s, 6)) for at in (0.0, 0.099, 0.15, 0.25, 0.31, 3.15)]
    assert seen == [(0.02, 0.1), (0.02, 0.1), (0.04, 0.2), (0.06, 0.3), (0.02, 0.4), (0.04, 3.2)]


def test_a_trace_that_is_told_to_hold_stays_on_its_last_row() -> None:
    channel = TraceChannel(rows_of((0, 20, 10), (100, 40, 10)), Radio(), loop=False)
    state = channel.state(99.0)
    assert (state.round_trip_s, state.until_s) == (0.04, float("inf"))


def test_a_calm_trace_is_halved() -> None:
    assert one_way_delays(rows_of((0, 20, 10), (50, 30, 10), (100, 22, 10))) == [(0.010, 0.010), (0.015, 0.015), (0.011, 0.011)]


def test_an_echo_sent_into_an_outage_returns_when_the_trace_says() -> None:
    """A second of outage after 0.1 s: every echo sent within it returned 20 ms after its end."""
    rows = rows_of((0, 20, 10), (50, 20, 10), *((at, 1100 - at + 20, 10) for at in range(100, 1100, 50)), (1100, 20, 10), (1150, 20, 10))
    channel = TraceChannel(rows, Radio(), loop=False)
    for row in rows:
        assert asked_round_trip_s(channel, row.time_s) == pytest.approx(row.round_trip_s)
    down_s = channel.state(0.1).down.delay_s
    assert 0.1 + down_s == pytest.approx(1.110), "one crossing ends with the outage, in either direction"


def deviation(path: Path) -> tuple[list[float], list[float]]:
    """Round trips of echoes of 64 bytes sent through transit at each row's time, one at a time, and the trace's own."""
    rows = read_trace(path)
    channel = TraceChannel(rows, Radio(), loop=False)
    for row in rows:
        assert asked_round_trip_s(channel, row.time_s) == pytest.approx(row.round_trip_s)
    replayed, own = [], []
    for row in rows:
        link = Transit(channel)  # a fresh one: the echoes of a trace overlap, and here each is to be alone
        turned_s = link.flow(Direction.UP).send(64, row.time_s).arrives_s
        replayed.append(link.flow(Direction.DOWN).send(64, turned_s).arrives_s - row.time_s)
        own.append(row.round_trip_s)
    return replayed, own


def assert_same_statistics(replayed: list[float], own: list[float]) -> None:
    for place in (4, 49, 94, 98):  # p5, p50, p95, p99
        asked_s = quantiles(own, n=100, method="inclusive")[place]
        assert quantiles(replayed, n=100, method="inclusive")[place] == pytest.approx(asked_s, rel=0.05, abs=0.002)


def test_the_example_trace_replays_its_own_statistics() -> None:
    assert build(LinkSettings(trace=WALK)).state(14.0).round_trip_s > 1.0, "it holds an outage"
    assert_same_statistics(*deviation(WALK))


@pytest.mark.skipif(not MEASURED, reason="needs the measured 5G drives: set AIRDRAFT_DATA to a folder with traces/*.csv")
@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_a_measured_drive_replays_its_own_statistics(path: Path) -> None:
    assert_same_statistics(*deviation(path))
