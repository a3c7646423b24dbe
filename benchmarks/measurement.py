"""Timings on a machine whose speed drifts: candidates take turns, medians come with their spread, ratios go pair by pair."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from orchestration.hardware import processor

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of some measurements, with the lowest and the highest."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """`median (low-high)`."""
        return f"{self.median * scale:.{digits}f} ({self.low * scale:.{digits}f}-{self.high * scale:.{digits}f})"


def ratio(first: Sequence[float], second: Sequence[float]) -> Spread:
    """first / second, turn by turn."""
    return Spread.of([one / other for one, other in zip(first, second, strict=True)])


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one question: a table for people, figures for programs, and whether a bar was met."""

    name: str
    question: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: Mapping[str, object]
    headline: str  # the answer in one line, for the README
    bar: str = ""
    met: bool | None = None
    notes: tuple[str, ...] = ()
    machine: Mapping[str, str] = field(default_factory=lambda: machine())
    taken: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def markdown(self) -> str:
        """As a section of Markdown."""
        lines = [f"## {self.name}", "", self.question, "", "| " + " | ".join(self.columns) + " |", "| --- " * len(self.columns) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        if self.bar:
            lines += ["", f"Bar: {self.bar}. {'Met' if self.met else 'NOT met'}."]
        lines += ["", *[f"- {note}" for note in self.notes], f"- {self.taken}; {'; '.join(f'{k} {v}' for k, v in self.machine.items())}"]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path = RESULTS) -> None:
        """Write `<name>.json` and `<name>.md`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")
        (folder / f"{self.name}.md").write_text(self.markdown())


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
    }
