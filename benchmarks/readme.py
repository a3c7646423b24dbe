"""The README's figures: one line per benchmark whose results are kept, between two marks. Nothing is typed in by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measurement import RESULTS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def lines(names: Sequence[str]) -> str:
    """The section for the benchmarks of these names, in their order; those that were never run are left out."""
    kept = []
    for name in names:
        path = RESULTS / f"{name}.json"
        if path.is_file():
            report = json.loads(path.read_text())
            missed = " **Its bar is missed.**" if report["met"] is False else ""
            kept.append(f"- {report['headline']} ([{name}](benchmarks/results/{name}.md)).{missed}")
    return "\n".join([BEGIN, *kept, END])


def written(text: str, names: Sequence[str]) -> str:
    """The README's `text` with the section as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + lines(names) + after


def rewrite(names: Sequence[str]) -> None:
    """Bring README.md up to date."""
    README.write_text(written(README.read_text(), names))
