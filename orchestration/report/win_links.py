"""Who wins on links that are no square of the map, since they change or stand alone: one bar per set of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestration.report.duels import Duel, Winner, duels, link_name
from orchestration.report.figure import DRAFTING, NEUTRAL, STREAMING, LeftOut, Picture, panels, plain_numbers, png
from orchestration.report.run import Run
from orchestration.report.win_map import maps, table

TITLE = "Who wins on each link"
LARGEST = 40  # bars; the table has them all
COLOUR = {Winner.DRAFTING: DRAFTING, Winner.STREAMING: STREAMING, Winner.NEITHER: NEUTRAL}
CAPTION = (
    "How many times as fast per output token drafting over the link is as streaming, at the draft length k that was best of those tried on"
    " these very prompts. Blue: drafting wins. Orange: it loses to streaming. Grey: the two 95 % intervals overlap."
)


def draw(run: Run) -> Picture | LeftOut:
    """See the module."""
    mapped = [duel for found in maps(run).values() for duel in found]
    found = [duel for duel in duels(run.rows) if duel not in mapped]
    if not found:
        return LeftOut(TITLE, "every set of conditions with both a stream and drafts is on the map")
    shown = found[:LARGEST]
    figure, axes = panels(1, 1, width=9.0, height=0.28 * len(shown) + 1.0)
    _bars(axes[0, 0], shown)
    part = f" The first {LARGEST} of {len(found)} are drawn." if len(found) > LARGEST else ""
    return Picture("who_wins_by_link", TITLE, CAPTION + part, png(figure, run.stamp), table(found))


def _bars(axis: Any, found: Sequence[Duel]) -> None:
    places = range(len(found))
    speeds = [duel.speed for duel in found]
    axis.barh(places, [speed - 1 for speed in speeds], left=1, color=[COLOUR[duel.winner] for duel in found], height=0.7)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xscale("log")
    axis.set_xlim(min(*speeds, 0.9) / 1.3, max(*speeds, 1.1) * 1.3)  # with room for the figures
    plain_numbers(axis.xaxis)
    for place, duel in zip(places, found, strict=True):
        side = "left" if duel.speed >= 1 else "right"
        offset = (4 if duel.speed >= 1 else -4, 0)
        text = f"{duel.speed:.2f}×, k={duel.drafting['draft_length']}"
        axis.annotate(text, (duel.speed, place), xytext=offset, textcoords="offset points", ha=side, va="center", fontsize=7)
    axis.set_yticks(places, [_name(duel) for duel in found], fontsize=7)
    axis.set_xlabel("speed of drafting over that of streaming")
    axis.invert_yaxis()


def _name(duel: Duel) -> str:
    users = f", {duel.stream['devices']} devices" if duel.stream["devices"] > 1 else ""
    return ", ".join(part for part in (link_name(duel.stream), duel.others) if part) + users
