"""The map of who wins where: round trip across, the target's time per token up, and in each square how drafting does against streaming."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestration.report.duels import Duel, Winner, duels
from orchestration.report.figure import LeftOut, Picture, Table, hide_unused, panels, png
from orchestration.report.run import Run

TITLE = "Who wins where"
WORDS = {Winner.DRAFTING: "", Winner.STREAMING: "LOSES", Winner.NEITHER: "even"}
COLUMNS = 3
STRONGEST = 2.0  # of the colours: twice as fast, or half
CAPTION = (
    "In each square: how many times as fast per output token drafting over the link is as streaming, and the draft length k of that"
    " (the best of those tried on these very prompts). Blue: drafting wins. Red, hatched and marked LOSES: streaming wins."
    " even: the two 95 % intervals overlap."
)


def draw(run: Run) -> Picture | LeftOut:
    """See the module."""
    drawn = maps(run)
    if not run.about["simulated"]:
        return LeftOut(TITLE, "a map needs targets of the same time per token, and no two measured ones are the same")
    if not drawn:
        return LeftOut(TITLE, "fewer than two round trips or speeds of the target have both a stream and drafts, for one device")
    columns = min(COLUMNS, len(drawn))
    figure, axes = panels(-(-len(drawn) // columns), columns, width=5.0, height=3.9)
    for axis, (where, found) in zip(axes.flat, drawn.items(), strict=False):
        _panel(axis, found)
        axis.set_title(where or run.name, fontsize=9)
    hide_unused(axes, len(drawn))
    return Picture("who_wins_where", TITLE, CAPTION, png(figure, run.stamp), table([duel for found in drawn.values() for duel in found]))


def table(found: Sequence[Duel]) -> Table:
    """These duels with their figures."""
    heads = ("conditions", "link", "target, ms/token", "stream, ms/token (95 %)", "drafting, ms/token (95 %)", "best k", "speed", "winner")
    lines = []
    for duel in found:
        name = f"{duel.stream['link']}" if duel.round_trip_ms is None else f"{duel.stream['link']} {duel.round_trip_ms:g} ms"
        times = (_interval(duel.stream), _interval(duel.drafting))
        k = str(duel.drafting["draft_length"])
        lines.append((duel.others or "-", name, f"{duel.target_token_ms:.1f}", *times, k, f"{duel.speed:.2f}×", duel.winner.value))
    return Table(heads, lines)


def maps(run: Run) -> dict[str, list[Duel]]:
    """Duels of one device that have a place on a map, by their other conditions; those that stand alone make no map."""
    found: dict[str, list[Duel]] = defaultdict(list)
    for duel in duels(run.rows):
        if duel.has_a_place_on_a_map and duel.stream["devices"] == 1:
            found[duel.where].append(duel)
    return {where: squares for where, squares in found.items() if len(squares) > 1}


def _panel(axis: Any, found: list[Duel]) -> None:
    trips = sorted({duel.round_trip_ms for duel in found if duel.round_trip_ms is not None})
    targets = sorted({round(duel.target_token_ms, 3) for duel in found})
    speeds = np.full((len(targets), len(trips)), np.nan)
    for duel in found:
        assert duel.round_trip_ms is not None
        row, column = targets.index(round(duel.target_token_ms, 3)), trips.index(duel.round_trip_ms)
        speeds[row, column] = np.log2(duel.speed)
        _mark(axis, duel, (column, row))
    limit = np.log2(STRONGEST)
    axis.imshow(speeds, origin="lower", aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit)
    axis.set_xticks(range(len(trips)), [f"{trip:g}" for trip in trips])
    axis.set_yticks(range(len(targets)), [f"{target:g}" for target in targets])
    axis.set_xlabel("round trip, ms")
    axis.set_ylabel("target, ms per token")


def _mark(axis: Any, duel: Duel, place: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    column, row = place
    if duel.winner is Winner.STREAMING:
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="//", edgecolor="#8a3a14", alpha=0.45, linewidth=0))
    text = f"{duel.speed:.2f}×\nk={duel.drafting['draft_length']}\n{WORDS[duel.winner]}".strip()
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.2}
    axis.text(column, row, text, ha="center", va="center", fontsize=6.5, bbox=box)


def _interval(row: Any) -> str:
    if row["tpot_s_low"] is None or row["tpot_s_high"] is None:
        return f"{1e3 * row['tpot_s']:.1f}"
    return f"{1e3 * row['tpot_s']:.1f} ({1e3 * row['tpot_s_low']:.1f} … {1e3 * row['tpot_s_high']:.1f})"
