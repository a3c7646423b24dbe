"""A run's directory read back for a report, and refused where its parts do not belong together. Draws nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airdraft.errors import SettingsError
from airdraft.journal import Journal, read_journal
from orchestration.summary import RESPONSES_FILE, SUMMARY_FILE, Row, read_rows
from orchestration.sweep.directory import FORMAT, JOURNALS, RUN_FILE

SHOWN_DIGEST = 12  # hexadecimal digits of it on a figure
AGAIN = "Run the sweep again with `airdraft sweep`, which runs only what is missing."
NEEDED: Mapping[str, type] = {
    "name": str,
    "simulated": bool,
    "version": str,
    "versions": dict,
    "digests": dict,
    "seeds": list,
    "cells": list,
}


@dataclass(frozen=True, slots=True)
class Run:
    """`about` is run.json; `rows` and `responses` are its two tables, as `orchestration.summary` describes them."""

    path: Path
    about: Mapping[str, Any]
    rows: Sequence[Row]
    responses: Sequence[Row]

    @property
    def name(self) -> str:
        """The sweep's name."""
        return str(self.about["name"])

    @property
    def mark(self) -> str:
        """Whether its figures are simulated or real."""
        return "simulated" if self.about["simulated"] else "real"

    @property
    def digest(self) -> str:
        """SHA-256 of what was run: cells (which stand for their settings), files and models, seeds and version."""
        stated = {key: self.about[key] for key in ("cells", "digests", "seeds", "version", "simulated")}
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()

    @property
    def stamp(self) -> str:
        """What every figure carries: run, digest, seeds, versions, and whether it is simulated or real."""
        versions = ", ".join(f"{name} {version}" for name, version in self.about["versions"].items() if name in ("python", "numpy"))
        seeds = ", ".join(str(seed) for seed in self.about["seeds"])
        digest = self.digest[:SHOWN_DIGEST]
        return f"{self.mark.upper()} · run {self.name} · digest {digest} · seeds {seeds} · airdraft {self.about['version']}, {versions}"

    @property
    def missing(self) -> int:
        """Cells of the run that have no row, since they failed or were not run yet."""
        return len(self.about["cells"]) - len(self.rows)

    def has_journal(self, cell: str) -> bool:
        """Whether this cell's journal was kept."""
        return self._journal(cell).is_file()

    def journal(self, cell: str) -> Journal:
        """Raises SettingsError when it cannot be read, or when it was made with other files than the run's."""
        path = self._journal(cell)
        journal = read_journal(path)
        _check_digests(path, journal.header.digests.values(), self.about)
        if journal.header.simulated != self.about["simulated"]:
            raise SettingsError(f"{path}: not a {self.mark} run's, which {RUN_FILE} says this is. {AGAIN}")
        return journal

    def _journal(self, cell: str) -> Path:
        return self.path / JOURNALS / f"{cell}.msgpack"


def read_run(path: Path) -> Run:
    """Raises SettingsError when the run is missing, damaged or not whole, or when its tables are not those that run.json states."""
    about = _about(path / RUN_FILE)
    rows = read_rows(path / SUMMARY_FILE)
    if not rows:
        raise SettingsError(f"{path / SUMMARY_FILE}: no cell has been finished. {AGAIN}")
    _check_rows(path / SUMMARY_FILE, rows, about)
    responses = read_rows(path / RESPONSES_FILE)
    _check_cells(path / RESPONSES_FILE, {row["cell"] for row in responses}, {row["cell"] for row in rows}, SUMMARY_FILE)
    return Run(path, about, rows, responses)


def _about(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}. Expected the directory of a run that `airdraft sweep` has made.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SettingsError(f"{path}: not a run's file: its format is not {FORMAT!r}. Give the directory of a run.")
    wrong = [key for key, kind in NEEDED.items() if not isinstance(values.get(key), kind)]
    if wrong:
        raise SettingsError(f"{path}: damaged: {', '.join(wrong)} missing or of another type. {AGAIN}")
    return values


def _check_rows(path: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    keys = [row["cell"] for row in rows]
    if len(set(keys)) != len(keys):
        raise SettingsError(f"{path}: a cell has more than one row. {AGAIN}")
    _check_cells(path, set(keys), set(about["cells"]), RUN_FILE)
    for row in rows:
        recording = row["recording_digest"]
        _check_digests(path, recording.split("+") if recording else (), about)
        for column in ("version", "simulated"):
            if row[column] != about[column]:
                raise SettingsError(f"{path}: cell {row['cell']} has {column} {row[column]}, {RUN_FILE} {about[column]}. {AGAIN}")
        if row["seed"] not in about["seeds"]:
            raise SettingsError(f"{path}: cell {row['cell']} has seed {row['seed']}, which {RUN_FILE} does not state. {AGAIN}")


def _check_cells(path: Path, found: set[str], stated: set[str], source: str) -> None:
    strange = sorted(found - stated)
    if strange:
        raise SettingsError(f"{path}: has cell {strange[0]}, whose digest {source} does not state ({len(strange)} such). {AGAIN}")


def _check_digests(path: Path, found: Any, about: Mapping[str, Any]) -> None:
    strange = sorted(set(found) - set(about["digests"].values()))
    if strange:
        raise SettingsError(
            f"{path}: made with a file or model of digest {strange[0][:SHOWN_DIGEST]}, which {RUN_FILE} does not state. {AGAIN}"
        )
