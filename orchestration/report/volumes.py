"""Bytes per token in both directions, policy by policy."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from orchestration.cell import Kind
from orchestration.report.figure import COLOURS, LeftOut, Picture, panels, png, whiskers
from orchestration.report.run import Run
from orchestration.summary import Row

TITLE = "Bytes per token"
LARGEST = 20  # policies
CAPTION = (
    "Median over all sets of conditions of each policy. Dark: encoded messages; the bars reach from the lowest to the highest end of their"
    " 95 % intervals. Light: with gRPC, HTTP/2, TLS, TCP and IP."
)


def draw(run: Run) -> Picture | LeftOut:
    """See the module."""
    policies: dict[str, list[Row]] = defaultdict(list)
    for row in run.rows:
        if row["kind"] not in (Kind.LOCAL, Kind.DEVICE) and row["bytes_up_per_token"] is not None:
            policies[row["policy"]].append(row)
    if not policies:
        return LeftOut(TITLE, "no row that crosses a link has counted bytes")
    names = sorted(policies, key=lambda name: (policies[name][0]["draft_length"] or 0, name))[:LARGEST]
    figure, axes = panels(1, 2, width=5.0, height=max(3.0, 0.24 * len(names) + 1.2))
    for axis, way in zip(axes.flat, ("up", "down"), strict=True):
        _panel(axis, [policies[name] for name in names], way)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.set_xlabel(f"bytes {way} per committed token")
        axis.invert_yaxis()
    return Picture("bytes", TITLE, CAPTION, png(figure, run.stamp))


def _panel(axis: Any, groups: Sequence[Sequence[Row]], way: str) -> None:
    column = f"bytes_{way}_per_token"
    wire = [statistics.median(row[f"wire_{column}"] or 0.0 for row in rows) for rows in groups]
    values = [statistics.median(row[column] for row in rows) for rows in groups]
    lows = [min((row[f"{column}_low"] for row in rows if row[f"{column}_low"] is not None), default=None) for rows in groups]
    highs = [max((row[f"{column}_high"] for row in rows if row[f"{column}_high"] is not None), default=None) for rows in groups]
    axis.barh(range(len(groups)), wire, color=COLOURS[0], alpha=0.25)
    axis.barh(range(len(groups)), values, xerr=whiskers(values, lows, highs), color=COLOURS[0], alpha=0.85, height=0.5, capsize=2)
