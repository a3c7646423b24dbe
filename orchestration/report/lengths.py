"""What becomes of drafts: how likely each position of one is accepted, and the accepted length by task."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestration.cell import Kind
from orchestration.report.duels import plain_name
from orchestration.report.figure import COLOURS, LeftOut, Picture, Table, panels, png, whiskers
from orchestration.report.run import Run
from orchestration.summary import Row

TITLE = "Accepted length per position and task"
RESAMPLES, SEED = 1000, 0
USUAL_LENGTH = 4  # whose accepted length is told by task, if it was run
CAPTION = (
    "Drafts of one length, exact rule; one cell stands for all links, since the link does not change what is accepted."
    " Left: of the tokens judged at a position, the share accepted, with 95 % Wilson intervals; a token after a rejected one is not judged."
    " Right: accepted tokens per round by task, with 95 % bootstrap intervals over responses (fixed seed)."
)


@dataclass(frozen=True, slots=True)
class TaskLength:
    """Accepted tokens per round of one task's prompts, with drafts of `draft_length`."""

    source: str  # recording, or what answered in its place
    task: str
    draft_length: int
    prompts: int
    mean: float
    low: float
    high: float
    rate: float  # accepted of all drafted tokens in judged drafts


def draw(run: Run) -> Picture | LeftOut:
    """See the module."""
    longest = [rows[-1] for rows in sources(run.rows).values()]
    lengths = by_task(run)
    if not longest or not lengths:
        return LeftOut(TITLE, "no row has drafts of a fixed length that were judged")
    figure, axes = panels(1, 2, width=5.4, height=4.0)
    for colour, row in zip(COLOURS * len(longest), longest, strict=False):
        _positions(axes[0, 0], row, colour)
    axes[0, 0].set(xlabel="position in the draft", ylabel="accepted of those judged", ylim=(0, 1.02))
    axes[0, 0].legend(fontsize=7, loc="lower left")
    axes[0, 0].grid(alpha=0.3)
    _tasks(axes[0, 1], lengths)
    return Picture("accepted_length", TITLE, CAPTION, png(figure, run.stamp), table(lengths))


def sources(rows: Iterable[Row]) -> dict[tuple[str, float], list[Row]]:
    """One sequential row per draft length, in rising order, for each recording and temperature."""
    found: dict[tuple[str, float], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["kind"] == Kind.SEQUENTIAL and row["draft_length"] and row["acceptance_by_position"]:
            found[_source(row), row["temperature"]].setdefault(row["draft_length"], row)
    return {key: [by_length[length] for length in sorted(by_length)] for key, by_length in found.items()}


def by_task(run: Run) -> list[TaskLength]:
    """Of every source, at the usual draft length, or the nearest that was run."""
    found = []
    for (source, _), rows in sources(run.rows).items():
        row = min(rows, key=lambda one: abs(one["draft_length"] - USUAL_LENGTH))
        tasks: dict[str, list[Row]] = defaultdict(list)
        for response in run.responses:
            if response["cell"] == row["cell"] and response["failure"] is None and response["rounds"]:
                tasks[response["task"] or "-"].append(response)
        found += [_length(source, task, row["draft_length"], responses) for task, responses in sorted(tasks.items())]
    return found


def table(lengths: Sequence[TaskLength]) -> Table:
    """The lengths with their intervals."""
    heads = ("prompts from", "task", "prompts", "draft length", "accepted per round (95 %)", "accepted of drafted")
    lines = [
        (
            one.source,
            one.task,
            str(one.prompts),
            str(one.draft_length),
            f"{one.mean:.2f} ({one.low:.2f} … {one.high:.2f})",
            f"{one.rate:.1%}",
        )
        for one in lengths
    ]
    return Table(heads, lines)


def _length(source: str, task: str, draft_length: int, responses: Sequence[Row]) -> TaskLength:
    accepted = np.array([row["accepted"] for row in responses], dtype=float)
    rounds = np.array([row["rounds"] for row in responses], dtype=float)
    chosen = np.random.default_rng(SEED).integers(len(responses), size=(RESAMPLES, len(responses)))
    ratios = accepted[chosen].sum(axis=1) / rounds[chosen].sum(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    drafted = sum(row["drafted"] for row in responses)
    rate = float(accepted.sum() / drafted) if drafted else 0.0
    prompts = len({row["name"] for row in responses})
    return TaskLength(source, task, draft_length, prompts, float(accepted.sum() / rounds.sum()), float(low), float(high), rate)


def _positions(axis: Any, row: Row, colour: str) -> None:
    judged = row["judged_by_position"]
    points = [
        (place + 1, share, count) for place, (share, count) in enumerate(zip(row["acceptance_by_position"], judged, strict=True)) if count
    ]
    shares = [share for _, share, _ in points]
    ends = [wilson(share, count) for _, share, count in points]
    bars = whiskers(shares, [low for low, _ in ends], [high for _, high in ends])
    label = f"{_source(row)}, k={row['draft_length']}"
    axis.errorbar([place for place, _, _ in points], shares, yerr=bars, fmt="o-", ms=3, lw=1, capsize=2, color=colour, label=label)


def _tasks(axis: Any, lengths: Sequence[TaskLength]) -> None:
    values = [one.mean for one in lengths]
    bars = whiskers(values, [one.low for one in lengths], [one.high for one in lengths])
    axis.barh(range(len(lengths)), values, xerr=bars, color=COLOURS[0], alpha=0.75, capsize=2)
    axis.set_yticks(range(len(lengths)), [f"{one.source}: {one.task}" for one in lengths], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel(f"accepted tokens per round, k={lengths[0].draft_length}")


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share of `count`."""
    z = 1.96
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def _source(row: Row) -> str:
    return "+".join(plain_name(part) for part in row["recording"].split("+")) if row["recording"] else str(row["task"] or row["drafter"])
