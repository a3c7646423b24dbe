"""A response by response, round by round account over a link that changes: channel, draft length and what was accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airdraft.journal import ResponseRecord, RoundRecord
from orchestration.cell import Kind
from orchestration.report.duels import conditions, link_name
from orchestration.report.figure import DRAFTING, NEUTRAL, STREAMING, LeftOut, Picture, panels, png
from orchestration.report.run import Run
from orchestration.summary import Row

TITLE = "Timelines over changing links"
LARGEST = 4
SHOWN_S = 60.0
CHANNELS = (
    ("snr_db", "SNR, dB", 1.0),
    ("uplink_bps", "uplink, Mbit/s", 1e-6),
    ("round_trip_s", "round trip as the device knows it, ms", 1e3),
)


def draw(run: Run) -> list[Picture | LeftOut]:
    """One picture per link, up to a few."""
    rows = _chosen(run)
    if not rows:
        return [LeftOut(TITLE, "no drafting cell over a link that changes has a journal; a sweep keeps them with `journals = true`")]
    return [_picture(run, row, number) for number, row in enumerate(rows, 1)]


def _chosen(run: Run) -> list[Row]:
    """Of every changing link the policy's row, or the best fixed length's."""
    by_link: dict[str, Row] = {}
    for row in run.rows:
        best = row["kind"] == Kind.SEQUENTIAL and row["best_fixed"]
        changing = row["channel"] not in (None, "constant", "none") and row["kind"] in (Kind.POLICY, Kind.SEQUENTIAL)
        if changing and run.has_journal(row["cell"]) and (row["kind"] == Kind.POLICY or best):
            known = by_link.get(row["link"])
            if known is None or (known["kind"] != Kind.POLICY and row["kind"] == Kind.POLICY):
                by_link[row["link"]] = row
    return list(by_link.values())[:LARGEST]


def _picture(run: Run, row: Row, number: int) -> Picture | LeftOut:
    title = f"Timeline: {row['policy']} over {link_name(row)}"
    rounds = _first_rounds(run.journal(row["cell"]).responses)
    if not rounds:
        return LeftOut(title, "its journal has no judged draft")
    figure, axes = panels(2, 1, width=10.0, height=2.3)
    told = _channel(axes[0, 0], rounds)
    _drafts(axes[1, 0], rounds)
    axes[1, 0].sharex(axes[0, 0])
    source = "as its modem told it" if told else "measured, since the device was told nothing of the channel"
    others = conditions(row)
    caption = f"The first {SHOWN_S:.0f} s of device {row['device_machine']}{': ' + others if others else ''}. Above: the channel, {source}."
    caption += " Below: each round's draft length (grey) and how much of it was accepted (blue); crosses: rounds with nothing accepted."
    return Picture(f"timeline_{number}", title, caption, png(figure, run.stamp))


def _first_rounds(responses: Sequence[ResponseRecord]) -> list[RoundRecord]:
    """Judged drafts of one device's first seconds."""
    if not responses:
        return []
    device = responses[0].device
    rounds = [one for response in responses if response.device == device for one in response.rounds if one.kind == "draft"]
    start_s = min((one.arrived_s for one in rounds), default=0.0)
    return [one for one in rounds if one.arrived_s <= start_s + SHOWN_S]


def _channel(axis: Any, rounds: Sequence[RoundRecord]) -> bool:
    """Draw what the device was told of the channel, else how long each round took; whether it was told."""
    for name, label, scale in CHANNELS:
        points = [(one.arrived_s, scale * getattr(one.channel, name)) for one in rounds if getattr(one.channel, name, None) is not None]
        if points:
            axis.plot([time_s for time_s, _ in points], [value for _, value in points], color=DRAFTING, lw=1, marker=".", ms=3)
            axis.set_ylabel(label, fontsize=8)
            return name != "round_trip_s"
    asked = [(one.arrived_s, 1e3 * (one.arrived_s - one.sent_s)) for one in rounds if one.sent_s is not None]
    axis.plot([time_s for time_s, _ in asked], [value for _, value in asked], color=DRAFTING, lw=1, marker=".", ms=3)
    axis.set_ylabel("draft to verdict, ms", fontsize=8)
    axis.set_yscale("log")
    return False


def _drafts(axis: Any, rounds: Sequence[RoundRecord]) -> None:
    times = [one.arrived_s for one in rounds]
    axis.vlines(times, 0, [len(one.drafted) for one in rounds], color=NEUTRAL, alpha=0.4, lw=2)
    axis.vlines(times, 0, [one.accepted for one in rounds], color=DRAFTING, lw=2)
    nothing = [one.arrived_s for one in rounds if one.accepted == 0]
    axis.plot(nothing, [0.0] * len(nothing), "x", color=STREAMING, ms=4)
    axis.set_ylabel("drafted, accepted", fontsize=8)
    axis.set_xlabel("s", fontsize=8)
