"""What a worker does: runs a few cells, one after the other, and keeps each one's failure to itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airdraft.errors import AirdraftError
from orchestration.cell import Cell, moved
from orchestration.experiment import prepare, run_cell
from orchestration.materials import Materials
from orchestration.tabulation import CellResult


@dataclass(frozen=True, slots=True)
class Batch:
    """Cells for one task."""

    cells: tuple[Cell, ...]
    keep_journals: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a cell: its rows, or why there are none."""

    key: str
    row: dict[str, Any] | None = None
    responses: list[dict[str, Any]] = field(default_factory=list)
    journal: bytes | None = None
    failure: str | None = None


_MATERIALS = Materials()  # of this process: a recording is read once for all its cells


def run_batch(batch: Batch, places: Mapping[str, Path] | None = None) -> list[Finished]:
    """Run all cells of a batch; `places`: where the files that they name lie on this machine, when elsewhere than they say.

    Raises nothing but what ends the process.
    """
    return [_run(cell, batch.keep_journals, places or {}) for cell in batch.cells]


def _run(cell: Cell, keep_journal: bool, places: Mapping[str, Path]) -> Finished:
    def run() -> CellResult:
        scenario = moved(cell.scenario, places) if places else cell.scenario
        return run_cell(prepare(cell, _MATERIALS.of(scenario), scenario), keep_journal=keep_journal)

    return finished(cell, run)


def finished(cell: Cell, run: Callable[[], CellResult]) -> Finished:
    """What becomes of a cell that is run like that: whatever goes wrong with it harms no other."""
    try:
        result = run()
    except AirdraftError as error:
        return Finished(cell.key, failure=f"{error.code}: {error.message}")
    except Exception as error:
        return Finished(cell.key, failure=f"{error!r}\n{traceback.format_exc()}")
    return Finished(cell.key, result.row, result.responses, result.journal)
