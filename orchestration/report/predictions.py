"""The cost model beside what a run found: time per token, and the best fixed draft length."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from orchestration.prediction import BAR, Agreement, BestLength, best_lengths
from orchestration.report.figure import COLOURS, NEUTRAL, LeftOut, Picture, Table, panels, plain_numbers, png
from orchestration.report.run import Run

TITLE = "The cost model beside the results"


def draw(run: Run) -> Picture | LeftOut:
    """See the module."""
    rows = [row for row in run.rows if row["predicted_tpot_s"] and row["tpot_s"]]
    if not rows:
        return LeftOut(TITLE, "the cost model speaks of one device on a steady link only, and no row has a prediction")
    agreement = best_lengths(run.rows)
    figure, axes = panels(1, 2 if agreement.lengths else 1, width=5.2, height=4.4)
    _times(axes[0, 0], rows, "simulated" if run.about["simulated"] else "measured")
    if agreement.lengths:
        _lengths(axes[0, 1], agreement)
    return Picture("cost_model", TITLE, _caption(rows, agreement), png(figure, run.stamp), exceptions(agreement))


def verdict(agreement: Agreement) -> str:
    """How often the model chose well, as a sentence."""
    if not agreement.lengths:
        return "No set of conditions has both a prediction and every draft length up to a longest one, so best lengths are not compared."
    held = "which meets" if agreement.holds else "which MISSES"
    agreeing = len(agreement.lengths) - len(agreement.exceptions)
    counts = f"{agreeing} of {len(agreement.lengths)} sets of conditions ({agreement.share:.0%})"
    return f"The best fixed draft length is within one token of the predicted one in {counts}, {held} the bar of {BAR:.0%}."


def exceptions(agreement: Agreement) -> Table | None:
    """Every set of conditions where the best length is further from the predicted one; None without any."""
    if not agreement.exceptions:
        return None
    heads = ("link", "round trip, ms", "draft step, ms", "target, ms/token", "task", "found k", "predicted k", "lost by the predicted")
    return Table(heads, [_line(one) for one in agreement.exceptions])


def _line(one: BestLength) -> tuple[str, ...]:
    given = one.conditions
    trip = "-" if given["round_trip_ms"] is None else f"{given['round_trip_ms']:g}"
    times = (f"{1e3 * given['draft_step_s']:.1f}", f"{1e3 * given['target_token_s']:.1f}")
    lost = "not run" if one.lost != one.lost else f"{one.lost:.1%}"
    return (str(given["link"]), trip, *times, str(given["task"]), str(one.found), str(one.predicted), lost)


def _times(axis: Any, rows: list[Any], found: str) -> None:
    for colour, kind in zip(COLOURS, sorted({row["kind"] for row in rows}), strict=False):
        of_kind = [row for row in rows if row["kind"] == kind]
        times = [[1e3 * row[column] for row in of_kind] for column in ("predicted_tpot_s", "tpot_s")]
        axis.scatter(*times, s=12, alpha=0.6, color=colour, label=kind)
    ends = [1e3 * min(min(row["predicted_tpot_s"], row["tpot_s"]) for row in rows)]
    ends.append(1e3 * max(max(row["predicted_tpot_s"], row["tpot_s"]) for row in rows))
    axis.plot(ends, ends, color=NEUTRAL, linewidth=1, label="equal")
    axis.set(xscale="log", yscale="log", xlabel="predicted, ms per token", ylabel=f"{found}, ms per token")
    for scale in (axis.xaxis, axis.yaxis):
        plain_numbers(scale)
    axis.legend(fontsize=7)


def _lengths(axis: Any, agreement: Agreement) -> None:
    axis.set(xlabel="predicted best draft length", ylabel="best found")
    counts = Counter((one.predicted, one.found) for one in agreement.lengths)
    largest = max(max(pair) for pair in counts) + 1
    axis.fill_between([0, largest], [-1, largest - 1], [1, largest + 1], color=NEUTRAL, alpha=0.15, label="give or take one")
    for (predicted, found), count in counts.items():
        colour = COLOURS[0] if abs(predicted - found) <= 1 else COLOURS[1]
        axis.scatter(predicted, found, s=20 + 12 * count, color=colour, alpha=0.7)
        axis.annotate(str(count), (predicted, found), fontsize=7, ha="center", va="center")
    axis.set(xlim=(0, largest), ylim=(0, largest))
    axis.legend(fontsize=7, loc="upper left")


def _caption(rows: list[Any], agreement: Agreement) -> str:
    errors = [abs(row["predicted_tpot_s"] / row["tpot_s"] - 1) for row in rows]
    off = f"The prediction is off by {statistics.median(errors):.1%} in the middle of {len(rows)} rows, by {max(errors):.1%} at worst."
    if not agreement.lengths:
        return f"{off} {verdict(agreement)}"
    below = " The exceptions are listed below." if agreement.exceptions else ""
    return f"Left: {off[0].lower()}{off[1:]} Right, with how many sets of conditions: {verdict(agreement)}{below}"
