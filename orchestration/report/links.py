"""Time per output token and rounds per response, link by link, with their 95 % intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from orchestration.cell import Kind
from orchestration.report.duels import conditions, link_name
from orchestration.report.figure import COLOURS, LeftOut, Picture, hide_unused, panels, plain_numbers, png, whiskers
from orchestration.report.run import Run
from orchestration.summary import Row

TITLE = "Time per token and rounds by link"
LARGEST = 4  # panels side by side; the rest is in the table under the map
COMPARED_LENGTHS = (2, 4, 8)
ROUND_TRIP = ("link.round_trip_ms", "link")


def draw(run: Run) -> Picture | LeftOut:
    """See the module."""
    groups = _groups(run.rows)
    if not groups:
        return LeftOut(TITLE, "no row that crosses a link has a time per token")
    shown = _spread(list(groups), LARGEST)
    figure, axes = panels(2, len(shown), width=4.6)
    colours: dict[str, str] = {}
    for column, where in enumerate(shown):
        others = [row for row in run.rows if row["kind"] in (Kind.LOCAL, Kind.DEVICE) and row["tpot_s"] is not None]
        linkless = {row["linkless"] for row in groups[where]}
        rows = groups[where] + [row for row in others if row["linkless"] in linkless]
        _panel(axes[0, column], rows, "tpot_s", 1e3, colours)
        _panel(axes[1, column], rows, "rounds_per_response", 1.0, colours)
        axes[0, column].set_title(where or run.name, fontsize=9)
        axes[0, column].set_yscale("log")
        plain_numbers(axes[0, column].yaxis)
    axes[0, 0].set_ylabel("time per output token, ms")
    axes[1, 0].set_ylabel("rounds per response")
    named = {name: handle for axis in axes[0] for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=len(named), fontsize=7)
    hide_unused(axes, 2 * len(shown))
    return Picture("by_link", TITLE, _caption(len(shown), len(groups)), png(figure, run.stamp))


def _caption(shown: int, groups: int) -> str:
    part = f" {shown} of {groups} sets of other conditions are shown, evenly chosen." if shown < groups else ""
    return (
        "Bars are 95 % bootstrap intervals over prompts. best k: the fixed draft length that was best on these very prompts."
        " device: the drafter alone, whose text is not the target's. local: drafter and target on one machine, without a link; best of its"
        f" draft lengths. Both are drawn at every link, since they do not depend on it.{part}"
    )


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows that cross a link, by all their conditions but the link."""
    groups = defaultdict(list)
    for row in rows:
        if row["tpot_s"] is not None and row["kind"] not in (Kind.LOCAL, Kind.DEVICE):
            groups[conditions(row, ROUND_TRIP)].append(row)
    return dict(groups)


def _spread(names: list[str], count: int) -> list[str]:
    if len(names) <= count:
        return names
    return [names[round(index * (len(names) - 1) / (count - 1))] for index in range(count)]


def _series(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Rows by legend and link."""
    links = list(dict.fromkeys(link_name(row) for row in _by_trip(rows)))
    series: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in _by_trip(rows):
        series["stream" if row["kind"] == Kind.STREAM else row["policy"]][link_name(row)] = row
    kept: dict[str, dict[str, Row]] = {}
    for name, by_link in series.items():
        first = next(iter(by_link.values()))
        if first["kind"] in (Kind.STREAM, Kind.POLICY) or (first["kind"] == Kind.SEQUENTIAL and first["draft_length"] in COMPARED_LENGTHS):
            kept[name] = by_link
    best = {link_name(row): row for row in rows if row["kind"] == Kind.SEQUENTIAL and row["best_fixed"]}
    flat = [row for row in rows if row["kind"] == Kind.DEVICE or (row["kind"] == Kind.LOCAL and row["best_fixed"])]
    kept |= {"sequential best k": {link: best[link] for link in links if link in best}} if best else {}
    for row in flat:
        kept[f"{row['kind']}"] = dict.fromkeys(links, row)
    return kept


def _by_trip(rows: Sequence[Row]) -> list[Row]:
    linked = [row for row in rows if row["kind"] not in (Kind.LOCAL, Kind.DEVICE)]
    return sorted(linked, key=lambda row: (row["round_trip_ms"] is None, row["round_trip_ms"] or 0.0, str(row["link"])))


def _panel(axis: Any, rows: Sequence[Row], column: str, scale: float, colours: dict[str, str]) -> None:
    links = list(dict.fromkeys(link_name(row) for row in _by_trip(rows)))
    series = _series(rows)
    for number, (name, by_link) in enumerate(series.items()):
        if name not in colours:
            colours[name] = COLOURS[len(colours) % len(COLOURS)]  # the same in every panel
        points = [(links.index(link), row) for link, row in by_link.items() if row[column] is not None]
        places = [place + 0.07 * (number - len(series) / 2) for place, _ in points]
        values = [scale * row[column] for _, row in points]
        low, high = ([_scaled(row[f"{column}_{end}"], scale) for _, row in points] for end in ("low", "high"))
        colour = colours[name]
        axis.errorbar(places, values, yerr=whiskers(values, low, high), fmt="o", ms=3.5, capsize=2, lw=1, color=colour, label=name)
    axis.set_xlim(-0.5, len(links) - 0.5)
    axis.set_xticks(range(len(links)), links, rotation=35, ha="right", fontsize=7)
    axis.grid(axis="y", alpha=0.3)


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value
