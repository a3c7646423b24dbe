"""A report as one HTML page that needs no other file: pictures within it, plain style, nothing fetched."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape

from orchestration.report.duels import Duel
from orchestration.report.figure import LeftOut, Picture, Table
from orchestration.report.run import Run
from orchestration.report.words import wins_by_link, wins_by_target

STYLE = """
body { font: 16px/1.5 sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; }
img { max-width: 100%; height: auto; border: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; } th, td { border: 1px solid #ccc; padding: 2px 8px; text-align: left; }
pre, .stamp { font: 13px/1.4 monospace; background: #f5f5f5; padding: 0.5rem; overflow-x: auto; } .caption { color: #444; }
.simulated, .real { color: white; padding: 0 0.5rem; } .simulated { background: #8a5bb5; } .real { background: #2a7d4c; }
"""


def page(run: Run, sentences: Sequence[str], figures: Sequence[Picture | LeftOut], found: Sequence[Duel]) -> str:
    """The whole page."""
    pictures = [one for one in figures if isinstance(one, Picture)]
    body = [
        f'<h1>airdraft: {escape(run.name)} <span class="{run.mark}">{run.mark}</span></h1>',
        _items(sentences),
        *_section("Where drafting wins and where streaming wins", [*wins_by_target(found), *wins_by_link(found)]),
        *(_picture(one) for one in pictures),
        *_section("Left out", [f"{one.title}: {one.reason}." for one in figures if isinstance(one, LeftOut)]),
        _origin(run),
    ]
    head = f'<meta charset="utf-8"><title>airdraft: {escape(run.name)}</title><style>{STYLE}</style>'
    text = "\n".join(body)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{text}\n</body></html>\n'


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"<h2>{escape(title)}</h2>", _items(lines)] if lines else []


def _items(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    image = f'<img alt="{escape(picture.title)}" src="data:image/png;base64,{data}">'
    below = _table(picture.table) if picture.table else ""
    return f'<h2>{escape(picture.title)}</h2>\n{image}\n<p class="caption">{escape(picture.caption)}</p>\n{below}'


def _table(table: Table) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in table.heads)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in table.lines)
    return f"<details><summary>The figures ({len(table.lines)} lines)</summary><table><tr>{heads}</tr>{lines}</table></details>"


def _origin(run: Run) -> str:
    stated = {key: run.about[key] for key in ("versions", "digests", "seeds")} | {"settings": run.about.get("settings")}
    text = json.dumps(stated, indent=1)
    origin = f'<p class="stamp">{escape(run.stamp)}<br>digest in full: {run.digest}</p>'
    return (
        f"<h2>Where the figures come from</h2>{origin}<details><summary>Settings and digests</summary><pre>{escape(text)}</pre></details>"
    )
