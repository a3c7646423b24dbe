"""A run's directory: what was asked, each finished cell as it comes, and the tables made of them at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from airdraft import __version__
from airdraft.errors import SettingsError
from orchestration.cell import Cell
from orchestration.prediction import mark_best
from orchestration.summary import RESPONSES, RESPONSES_FILE, SUMMARY, SUMMARY_FILE, write_rows
from orchestration.sweep.work import Finished

RUN_FILE = "run.json"
FAILURES_FILE = "failures.json"
CELLS, JOURNALS = "cells", "journals"
FORMAT = "airdraft-run"


@dataclass(frozen=True, slots=True)
class About:
    """What a run is: the plain values of its file, and whether its figures are simulated."""

    name: str
    settings: Mapping[str, Any]
    digests: Mapping[str, str]  # SHA-256 of the files and models behind it, by name
    versions: Mapping[str, str]
    simulated: bool = True


class RunDirectory:
    """`cells/` has a file per finished cell, named by its key: a cell that is there need not run again, whatever else has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, about: About, cells: Sequence[Cell]) -> None:
        """Make it, or take up an older one; say in it what the run is. Raises SettingsError when it cannot be written."""
        values = {
            "format": FORMAT,
            "name": about.name,
            "simulated": about.simulated,
            "version": __version__,
            "versions": dict(about.versions),
            "digests": dict(about.digests),
            "seeds": sorted({cell.scenario.seed for cell in cells}),
            "cells": [cell.key for cell in cells],
            "settings": dict(about.settings),
        }
        for part in (CELLS, JOURNALS):
            self._make(self.path / part)
        self._write(self.path / RUN_FILE, json.dumps(values, indent=1, default=str).encode())

    def has(self, cell: Cell, journal: bool) -> bool:
        """Whether this cell has been finished, with its journal if that is wanted."""
        return self._cell(cell.key).is_file() and (not journal or self.journal(cell.key).is_file())

    def add(self, finished: Finished) -> None:
        """Keep a finished cell."""
        if finished.journal is not None:
            self._write(self.journal(finished.key), finished.journal)
        packed = msgpack.packb({"row": finished.row, "responses": finished.responses})
        self._write(self._cell(finished.key), packed)

    def journal(self, key: str) -> Path:
        """Where a cell's journal lies, if one was kept."""
        return self.path / JOURNALS / f"{key}.msgpack"

    def conclude(self, cells: Sequence[Cell], failures: Iterable[Finished]) -> list[dict[str, Any]]:
        """Write the tables and the list of failures; the summary's rows. Cells of the directory that are not of this run are left out."""
        rows, responses = [], []
        for cell in cells:
            if self._cell(cell.key).is_file():
                values = self._read(cell.key)
                row = values["row"] | {"axes": json.dumps(cell.axes, sort_keys=True)}
                rows.append({column.name: row.get(column.name) for column in SUMMARY})
                responses.extend(values["responses"])
        mark_best(rows)
        write_rows(self.path / SUMMARY_FILE, SUMMARY, rows)
        write_rows(self.path / RESPONSES_FILE, RESPONSES, responses)
        by_key = {cell.key: cell for cell in cells}
        listed = [_failure(by_key[one.key], one) for one in failures]
        self._write(self.path / FAILURES_FILE, json.dumps(listed, indent=1, default=str).encode())
        return rows

    def _cell(self, key: str) -> Path:
        return self.path / CELLS / f"{key}.msgpack"

    def _read(self, key: str) -> dict[str, Any]:
        path = self._cell(key)
        try:
            values: dict[str, Any] = msgpack.unpackb(path.read_bytes())
            if not isinstance(values["row"], dict):
                raise ValueError("no row")
        except (OSError, ValueError, KeyError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise SettingsError(f"{path}: damaged ({error!r}). Remove it and run the sweep again.") from error
        return values

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{folder}: {error}. Choose a place that can be written.") from error

    def _write(self, path: Path, data: bytes) -> None:
        unfinished = path.with_name(path.name + ".unfinished")
        try:
            unfinished.write_bytes(data)
            unfinished.replace(path)
        except OSError as error:
            raise SettingsError(f"{path}: {error}. Make room, or choose another place.") from error


def _failure(cell: Cell, finished: Finished) -> dict[str, Any]:
    return {"cell": cell.key, "policy": cell.policy, "axes": dict(cell.axes), "failure": finished.failure}
