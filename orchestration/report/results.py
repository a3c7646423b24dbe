"""The results of one or several runs as a Markdown page, made from their tables alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestration.report import lengths, win_map, words
from orchestration.report.duels import Duel, duels
from orchestration.report.figure import Table
from orchestration.report.run import Run


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture that the page shows; `address` is relative to the page."""

    address: str
    title: str
    caption: str


def results(runs: Sequence[Run], pictures: Mapping[str, Sequence[ShownPicture]], command: str) -> str:
    """The page, a part for each run with its pictures (by the run's name); `command` is what makes it again."""
    names = ", ".join(run.name for run in runs)
    parts = [f"# Results: {names}", f"Made by `{command}`; to change this page, change the runs and give that command again."]
    for run in runs:
        parts += _part(run, pictures[run.name])
    return "\n\n".join(parts) + "\n"


def _part(run: Run, pictures: Sequence[ShownPicture]) -> list[str]:
    """What a run says of acceptance, and of drafting beside streaming; what it has no rows for is left out."""
    found = duels(run.rows)
    accepted = lengths.by_task(run)
    tables = {
        "Acceptance by task": lengths.table(accepted) if accepted else None,
        "Win or lose, by round trip and the target's time per token": _duels(found, on_map=True),
        "Win or lose, link by link": _duels(found, on_map=False),
    }
    parts = [f"## {run.name} ({run.mark})", f"`{run.stamp}`", _items(words.summary(run))]
    if found:
        parts += ["### Where streaming wins, and where drafting wins"]
        parts += [_items([*words.wins_by_target(found), *words.wins_by_link(found)])]
    for picture in pictures:
        parts += [f"![{picture.title}]({picture.address})", f"{picture.title}. {picture.caption}"]
    for title, table in tables.items():
        if table is not None:
            parts += [f"### {title}", _table(table)]
    return parts


def _duels(found: Sequence[Duel], on_map: bool) -> Table | None:
    chosen = [duel for duel in found if duel.has_a_place_on_a_map is on_map]
    return win_map.table(chosen) if chosen else None


def _items(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    lines = [table.heads, ["---"] * len(table.heads), *table.lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
