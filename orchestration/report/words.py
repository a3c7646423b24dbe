"""The result in plain sentences, each computed from a run's rows: where drafting wins, where streaming does, and what it costs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence

from orchestration.prediction import best_lengths
from orchestration.report.duels import Duel, Winner, duels
from orchestration.report.predictions import verdict
from orchestration.report.run import Run

NOTHING = "No set of conditions has both a stream and drafts of a fixed length, so this run does not say who wins."


def summary(run: Run) -> list[str]:
    """The most important first."""
    found = duels(run.rows)
    lines = [overall(found), *extremes(found), *cost(found)] if found else [NOTHING]
    return [*lines, verdict(best_lengths(run.rows)), *reservations(run)]


def overall(found: Sequence[Duel]) -> str:
    """How many sets of conditions each side wins."""
    counts = {winner: sum(duel.winner is winner for duel in found) for winner in Winner}
    return (
        f"Of {len(found)} sets of conditions, drafting over the link at its best fixed length takes less time per token in"
        f" {counts[Winner.DRAFTING]}, streaming in {counts[Winner.STREAMING]}; in {counts[Winner.NEITHER]} their 95 % intervals overlap."
    )


def extremes(found: Sequence[Duel]) -> list[str]:
    """Where each side is furthest ahead."""
    best, worst = max(found, key=lambda duel: duel.speed), min(found, key=lambda duel: duel.speed)
    lines = []
    if best.winner is Winner.DRAFTING:
        lines.append(f"Drafting gains most with {_place(best)}: {best.speed:.2f} times as fast, k={best.drafting['draft_length']}.")
    if worst.winner is Winner.STREAMING:
        lines.append(f"Drafting loses most with {_place(worst)}: {worst.speed:.2f} times as fast as streaming, even at its best length.")
    return lines


def cost(found: Sequence[Duel]) -> list[str]:
    """What the cloud pays for drafted text, beside streamed text."""
    ratios = [
        duel.drafting["target_s_per_token"] / duel.stream["target_s_per_token"]
        for duel in found
        if duel.stream["target_s_per_token"] and duel.drafting["target_s_per_token"] is not None
    ]
    if not ratios:
        return []
    span = f"{statistics.median(ratios):.0%} of what streaming needs (from {min(ratios):.0%} to {max(ratios):.0%})"
    return [f"The target's computing time per token with drafting is, in the middle, {span}."]


def wins_by_target(found: Sequence[Duel]) -> list[str]:
    """Of every target's speed on steady links: the round trips at which each side wins; a sentence each."""
    groups: dict[tuple[str, float], list[Duel]] = defaultdict(list)
    for duel in found:
        if duel.has_a_place_on_a_map:
            groups[duel.where, round(duel.target_token_ms, 3)].append(duel)
    return [_by_round_trip(where, target, group) for (where, target), group in groups.items()]


def wins_by_link(found: Sequence[Duel]) -> list[str]:
    """Of every duel over a link without one round trip, and of every real one."""
    verbs: dict[Winner, Callable[[Duel], str]] = {
        Winner.DRAFTING: lambda duel: "drafting wins",
        Winner.STREAMING: lambda duel: "streaming wins",
        Winner.NEITHER: lambda duel: "the 95 % intervals overlap",
    }
    return [
        f"{_place(duel)}: {1e3 * duel.drafting['tpot_s']:.1f} ms per token drafted (k={duel.drafting['draft_length']}),"
        f" {1e3 * duel.stream['tpot_s']:.1f} streamed; {verbs[duel.winner](duel)}."
        for duel in found
        if not duel.has_a_place_on_a_map
    ]


def reservations(run: Run) -> list[str]:
    """What the reader should know before trusting the figures."""
    lines = ["The best fixed length is chosen on the very prompts that it is measured on, so a length fixed beforehand does no better."]
    sources = sorted({row[key] for row in run.rows for key in ("device_source", "verifier_source") if row[key]})
    if run.about["simulated"]:
        lines.append(f"The figures are simulated on a virtual clock; the machines' times are {' or '.join(sources)}.")
    else:
        found = [sorted({row[key] for row in run.rows if row[key]}) for key in ("device_machine", "verifier_machine")]
        devices, verifiers = ("; ".join(names) for names in found)
        lines.append(f"The figures are measured in real time, on emulated links. Devices: {devices}. Verifiers: {verifiers}.")
    failed = sum(row["failed"] or 0 for row in run.rows)
    if failed:
        lines.append(f"{failed} responses failed; they are in no other figure.")
    if run.missing:
        lines.append(f"{run.missing} of {len(run.about['cells'])} cells have no result, since they failed or have not been run.")
    return lines


def _by_round_trip(where: str, target_ms: float, group: Sequence[Duel]) -> str:
    parts = []
    said = {Winner.DRAFTING: "drafting wins at", Winner.STREAMING: "streaming wins at", Winner.NEITHER: "neither clearly at"}
    for winner, verb in said.items():
        trips = sorted({duel.round_trip_ms for duel in group if duel.winner is winner and duel.round_trip_ms is not None})
        if trips:
            parts.append(f"{verb} {', '.join(f'{trip:g}' for trip in trips)} ms of round trip")
    start = f"{where}, target" if where else "Target"
    return f"{start} {target_ms:g} ms per token: {'; '.join(parts)}."


def _place(duel: Duel) -> str:
    trip = "" if duel.round_trip_ms is None else f" of {duel.round_trip_ms:g} ms"
    where = f" ({duel.others})" if duel.others else ""
    return f"link {duel.stream['link']}{trip} and a target of {duel.target_token_ms:.3g} ms per token{where}"
