"""A report's figure: a picture with its caption and its run's stamp, or the reason why there is none. Knows no data."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DOTS_PER_INCH = 110
DRAFTING, STREAMING, NEUTRAL = "#1f6fb4", "#c8501e", "#666666"  # told apart by colour-blind readers too
COLOURS = (DRAFTING, STREAMING, "#2a9d5c", "#8a5bb5", "#b59b1f", "#3aa6b9", "#b5497f", NEUTRAL)


@dataclass(frozen=True, slots=True)
class Table:
    """Figures beside a picture."""

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """`png`: with the stamp in it. `name`: of its file, without an ending."""

    name: str
    title: str
    caption: str
    png: bytes
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A figure that the run has no data for."""

    title: str
    reason: str


def panels(rows: int, columns: int, width: float = 4.2, height: float = 3.4) -> tuple[Any, Any]:
    """A matplotlib figure and its axes, [rows, columns]; sizes in inches per panel. Never opens a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here, so that other commands need not load it
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width * columns, 8.0), height * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def png(figure: Any, stamp: str) -> bytes:
    """The picture as PNG, with the stamp under it."""
    figure.supxlabel(stamp, fontsize=7, color="#444444")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": "airdraft", "Description": stamp})
    return file.getvalue()


def plain_numbers(scale: Any) -> None:
    """Let a logarithmic axis (`axis.xaxis` or `axis.yaxis`) show 20 and 50, not powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    scale.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    scale.set_major_formatter(StrMethodFormatter("{x:g}"))
    scale.set_minor_formatter(NullFormatter())


def hide_unused(axes: Any, used: int) -> None:
    """Take away the panels after the first `used`."""
    for axis in axes.flat[used:]:
        axis.set_visible(False)


def whiskers(values: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None]) -> list[list[float]]:
    """Lengths of error bars, [2, n], for values with ends of intervals; none where an end is missing."""
    below = [max(value - (value if low is None else low), 0.0) for value, low in zip(values, lows, strict=True)]
    above = [max((value if high is None else high) - value, 0.0) for value, high in zip(values, highs, strict=True)]
    return [below, above]
