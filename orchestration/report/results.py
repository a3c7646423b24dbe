"""A run's results as a Markdown page, made from its tables alone."""

from __future__ import annotations

from collections.abc import Sequence

from orchestration.report import lengths, win_map, words
from orchestration.report.duels import Duel, duels
from orchestration.report.figure import Table
from orchestration.report.run import Run


def results(run: Run, command: str) -> str:
    """The page; `command` is what makes it again."""
    found = duels(run.rows)
    accepted = lengths.by_task(run)
    steady = [duel for duel in found if duel.round_trip_ms is not None]
    changing = [duel for duel in found if duel.round_trip_ms is None]
    parts = [
        f"# Results: {run.name} ({run.mark})",
        f"Made by `{command}`; to change this page, change the run and give that command again.",
        f"`{run.stamp}`",
        _items(words.summary(run)),
        "## Where streaming wins, and where drafting wins",
        _items([*words.wins_by_target(found), *words.wins_on_changing_links(found)]) if found else words.NOTHING,
        "## Acceptance by task",
        _table(lengths.table(accepted)) if accepted else "This run has no drafts of a fixed length.",
        "## Win or lose, by round trip and the target's time per token",
        _duels(steady, "This run has no steady links with both a stream and drafts."),
        "## Links that change",
        _duels(changing, "This run has no traces or other changing links with both a stream and drafts."),
    ]
    return "\n\n".join(parts) + "\n"


def _duels(found: Sequence[Duel], otherwise: str) -> str:
    return _table(win_map.table(list(found))) if found else otherwise


def _items(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    lines = [table.heads, ["---"] * len(table.heads), *table.lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
