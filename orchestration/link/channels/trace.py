"""A channel replayed from a measured drive, row by row: round trips as measured, rates from SINR by Shannon's bound as modems reach it."""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Self

from airdraft.errors import SettingsError
from orchestration.link.capacity import DOWNLINK_MODEM, UPLINK_MODEM, Modem
from orchestration.link.channel import LegState, LinkState
from orchestration.link.settings import LinkSettings

COLUMNS = ("time_ms", "rtt_ms", "sinr_db", "rsrp_dbm")


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One measurement. `time_s` counts from the first row."""

    time_s: float
    round_trip_s: float
    sinr_db: float
    rsrp_dbm: float


@dataclass(frozen=True, slots=True)
class Radio:
    """What a trace does not say: `uplink_share` of the bandwidth goes up, the rest down; a rate given here stands instead of Shannon's."""

    bandwidth_hz: float = 20e6
    uplink_share: float = 0.25
    uplink_bps: float | None = None
    downlink_bps: float | None = None
    jitter_s: float = 0.0  # of the round trip, on top of what the trace itself shows
    loss: float = 0.0

    def legs(self, row: TraceRow, delays_s: tuple[float, float]) -> tuple[LegState, LegState]:
        """Up and down while `row` holds. A signal that the modem cannot hold is an outage."""
        up_hz = self.bandwidth_hz * self.uplink_share
        up = self._leg(row, delays_s[0], self.uplink_bps, (UPLINK_MODEM, up_hz))
        down = self._leg(row, delays_s[1], self.downlink_bps, (DOWNLINK_MODEM, self.bandwidth_hz - up_hz))
        return up, down

    def _leg(self, row: TraceRow, delay_s: float, given_bps: float | None, air: tuple[Modem, float]) -> LegState:
        modem, bandwidth_hz = air
        carried_bps = modem.rate_bps(row.sinr_db, bandwidth_hz)
        rate_bps = given_bps if given_bps is not None and carried_bps > 0 else carried_bps
        return LegState(rate_bps, delay_s, self.jitter_s / math.sqrt(2), self.loss, snr_db=row.sinr_db, outage=rate_bps == 0)


class TraceChannel:
    """Each row holds until the next (no interpolation). After the last, which lasts as long as the median, it starts again or stays."""

    def __init__(self, rows: Sequence[TraceRow], radio: Radio, *, loop: bool = True) -> None:
        if not rows:
            raise SettingsError("a trace has no rows; expected at least one measurement.")
        self._starts = [row.time_s for row in rows]
        self._legs = [radio.legs(row, delays_s) for row, delays_s in zip(rows, one_way_delays(rows), strict=True)]
        self._period_s = self._starts[-1] + _last_row_s(self._starts) if loop else math.inf

    @classmethod
    def from_settings(cls, settings: LinkSettings) -> Self:
        """From a trace file. Raises SettingsError when it cannot be read or used."""
        if settings.trace is None:
            raise SettingsError("a trace channel needs a trace file; set `trace` to a CSV with the columns " + ",".join(COLUMNS) + ".")
        radio = Radio(
            bandwidth_hz=settings.bandwidth_mhz * 1e6,
            uplink_share=settings.uplink_share,
            uplink_bps=None if settings.uplink_mbps is None else settings.uplink_mbps * 1e6,
            downlink_bps=None if settings.downlink_mbps is None else settings.downlink_mbps * 1e6,
            jitter_s=(settings.jitter_ms or 0.0) / 1e3,
            loss=settings.loss or 0.0,
        )
        return cls(read_trace(settings.trace), radio, loop=settings.at_end == "loop")

    def state(self, at_s: float) -> LinkState:
        """See `Channel.state`."""
        at_s = max(at_s, 0.0)
        turn_s = 0.0 if math.isinf(self._period_s) else self._period_s * math.floor(at_s / self._period_s)
        index = max(bisect_right(self._starts, at_s - turn_s) - 1, 0)
        end_s = self._starts[index + 1] if index + 1 < len(self._starts) else self._period_s
        up, down = self._legs[index]
        return LinkState(up, down, until_s=turn_s + end_s)


def one_way_delays(rows: Sequence[TraceRow]) -> list[tuple[float, float]]:
    """Delays up and down per row, in seconds, such that an echo sent when a row begins returns after exactly that row's round trip.

    Half the round trip would be right only while the channel stands still. In an outage of ten seconds the way back begins when the
    outage is nearly over, so the halves of two rows would add up to far less than was measured. A trace does not say how a round trip
    was shared, so both ways get the same delay wherever that is possible. Solved from the last row to the first.
    """
    starts = [row.time_s for row in rows]
    delays = [(row.round_trip_s / 2, row.round_trip_s / 2) for row in rows]
    for index in range(len(rows) - 2, -1, -1):
        row, lasts_s = rows[index], starts[index + 1] - starts[index]
        up_s = _turns_later_s(row, starts, delays, index)
        if up_s is not None:
            delays[index] = (up_s, up_s)
        elif row.round_trip_s / 2 > 0.99 * lasts_s:  # it must turn before worse rows begin, and so came down late
            delays[index] = (lasts_s / 2, row.round_trip_s - lasts_s / 2)
    return delays


def _turns_later_s(row: TraceRow, starts: Sequence[float], delays: Sequence[tuple[float, float]], index: int) -> float | None:
    """How long the row's echo travels up when it turns as late as possible, in a row after its own; None when no such row fits."""
    for turned in range(bisect_right(starts, row.time_s + row.round_trip_s) - 1, index, -1):
        up_s = row.round_trip_s - delays[turned][1]
        ends_s = starts[turned + 1] if turned + 1 < len(starts) else math.inf
        if starts[turned] <= row.time_s + up_s < ends_s:
            return up_s
    return None


def read_trace(path: Path) -> list[TraceRow]:
    """The rows of a trace file. Raises SettingsError that names the file and the line when it cannot be read or a row is malformed."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return parse_trace(file, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}. Expected a readable CSV file with the columns {','.join(COLUMNS)}.") from error


def parse_trace(lines: Iterable[str], source: str) -> list[TraceRow]:
    """The rows of a trace, given as lines of CSV. Times count from the first row. Raises SettingsError as `read_trace` does."""
    reader = csv.reader(lines)
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise SettingsError(f"{source}, line 1: no column {', '.join(missing)}. Expected a header with {','.join(COLUMNS)}.")
    places = [header.index(name) for name in COLUMNS]
    rows: list[TraceRow] = []
    first_s = 0.0
    for cells in reader:
        if not cells:
            continue
        where = f"{source}, line {reader.line_num}"
        time_ms, round_trip_ms, sinr_db, rsrp_dbm = _numbers(cells, places, where)
        first_s = time_ms / 1e3 if not rows else first_s
        row = TraceRow(time_ms / 1e3 - first_s, round_trip_ms / 1e3, sinr_db, rsrp_dbm)
        if round_trip_ms < 0:
            raise SettingsError(f"{where}: rtt_ms is {round_trip_ms:g}; a round trip cannot be negative. Correct or drop the row.")
        if rows and row.time_s <= rows[-1].time_s:
            raise SettingsError(f"{where}: time_ms is {time_ms:g}, not later than the row before. Sort the rows and drop duplicates.")
        rows.append(row)
    if not rows:
        raise SettingsError(f"{source}: no rows after the header. Expected at least one measurement.")
    return rows


def _numbers(cells: Sequence[str], places: Sequence[int], where: str) -> list[float]:
    if len(cells) <= max(places):
        raise SettingsError(f"{where}: {len(cells)} values, fewer than the header has. Expected {','.join(COLUMNS)}.")
    numbers = []
    for name, place in zip(COLUMNS, places, strict=True):
        try:
            number = float(cells[place])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise SettingsError(f"{where}: {name} is {cells[place]!r}. Expected a finite number; correct or drop the row.")
        numbers.append(number)
    return numbers


def _last_row_s(starts: Sequence[float]) -> float:
    return median(later - earlier for earlier, later in pairwise(starts)) if len(starts) > 1 else 1.0
