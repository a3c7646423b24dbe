"""Capacity curves of a fleet: what its users and its cloud see as more is asked of the verifiers."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from orchestration.cell import Kind
from orchestration.report.figure import COLOURS, LeftOut, Picture, panels, png
from orchestration.report.run import Run
from orchestration.summary import Row

TITLE = "Fleet capacity"
CURVES = (
    ("tokens_per_s", None, "tokens per second, all devices", 1.0),
    ("tpot_p50_s", "tpot_p95_s", "time per token, ms: median, 95th", 1e3),
    ("ttft_p50_s", "ttft_p95_s", "time to first token, ms: median, 95th", 1e3),
    ("target_s_per_token", None, "target's ms per token", 1e3),
    ("queue_p95_s", None, "wait for a forward, ms: 95th", 1e3),
    ("fairness", None, "Jain's index of speeds", 1.0),
)
CAPTION = "Solid: the first figure named on an axis; dashed: the second. Responses that failed are in no curve."


def draw(run: Run) -> Picture | LeftOut:
    """See the module."""
    rows = [row for row in run.rows if row["devices"] > 1 and row["kind"] in (Kind.STREAM, Kind.SEQUENTIAL, Kind.POLICY)]
    if not rows:
        return LeftOut(TITLE, "no cell has more than one device")
    label = "responses asked for per second" if len({load(row) for row in rows}) > 1 else "devices"
    curves: dict[str, list[tuple[float, Row]]] = defaultdict(list)
    for row in rows:
        curves[row["policy"]].append((load(row) if label != "devices" else row["devices"], row))
    figure, axes = panels(2, 3, width=4.2, height=3.2)
    for axis, (column, second, title, scale) in zip(axes.flat, CURVES, strict=True):
        for colour, (name, points) in zip(COLOURS * len(curves), curves.items(), strict=False):
            _curve(axis, points, (column, scale), {"label": name, "color": colour})
            if second:
                _curve(axis, points, (second, scale), {"color": colour, "linestyle": "--"})
        axis.set(xlabel=label, ylabel=title)
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    failed = sum(row["failed"] for row in rows)
    return Picture(
        "fleet", TITLE, f"{CAPTION} Failed: {failed} of {failed + sum(row['responses'] for row in rows)}.", png(figure, run.stamp)
    )


def load(row: Row) -> float:
    """Responses per second that the workload asks for; 0 when it does not say."""
    workload: dict[str, Any] = json.loads(row["settings"] or "{}").get("workload", {})
    return float(workload.get("arrivals_per_s") or 0.0)


def _curve(axis: Any, points: list[tuple[float, Row]], column: tuple[str, float], style: dict[str, Any]) -> None:
    name, scale = column
    there = sorted(((place, scale * row[name]) for place, row in points if row[name] is not None), key=lambda point: point[0])
    axis.plot([place for place, _ in there], [value for _, value in there], marker="o", ms=3, lw=1.2, **style)
