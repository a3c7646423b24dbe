"""From a scenario with a grid to its cells: every combination once, and the baselines beside each set of conditions."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from airdraft.errors import SettingsError
from orchestration import baselines
from orchestration.cell import Cell, Kind, canonical, digest_files, kind_of
from orchestration.scenario import Baseline, Scenario, check_files, put

LARGEST_GRID = 100_000
Longest = Callable[[Scenario], int]


def expand(values: dict[str, Any], source: str, longest_draft: Longest) -> tuple[Cell, ...]:
    """All cells of a sweep, given as the plain values of its file; each different one once, a grid's own before its baselines.

    `longest_draft` says how long a scenario's drafts can be at most; baselines keep to it. Raises SettingsError for a cell that is
    impossible, naming its place in the grid.
    """
    base = Scenario.parse(values, source)
    known: dict[str, str] = {}
    cells: dict[str, Cell] = {}
    environments: dict[str, Cell] = {}
    for axes in _combinations(base.grid):
        scenario = _at(values, axes, source)
        cell = _cell(canonical(scenario), kind_of(scenario), axes, known)
        cells.setdefault(cell.key, cell)
        environments.setdefault(cell.environment, cell)
    for cell in environments.values():
        axes = {key: value for key, value in cell.axes.items() if not key.startswith("device.")}
        for kind, scenario in _baselines(base, cell.scenario, longest_draft):
            row = _cell(scenario, kind, axes, known)
            cells.setdefault(row.key, row)
    return tuple(cells.values())


def single(values: dict[str, Any], source: str) -> Cell:
    """The one cell of a scenario without a grid. Raises SettingsError when it has one."""
    scenario = Scenario.parse(values, source)
    if scenario.grid:
        raise SettingsError(f"{source}: a grid is a sweep. Run it with `airdraft sweep`, or remove [grid].")
    return _cell(scenario, kind_of(scenario), {}, {})


def _combinations(grid: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    empty = [key for key, options in grid.items() if not options]
    if empty:
        raise SettingsError(f"grid: {empty[0]!r} has no values. Give one or more, or leave the key out.")
    count = math.prod(len(options) for options in grid.values())
    if count > LARGEST_GRID:
        raise SettingsError(f"grid: {count} combinations; at most {LARGEST_GRID} can be run. Leave some values out.")
    for options in itertools.product(*grid.values()):
        yield dict(zip(grid, options, strict=True))


def _at(values: dict[str, Any], axes: dict[str, Any], source: str) -> Scenario:
    """The scenario at one place of the grid."""
    plain = copy.deepcopy({key: value for key, value in values.items() if key not in ("grid", "sweep")})
    for key, value in axes.items():
        put(plain, key, value)
    where = ", ".join(f"{key} = {value!r}" for key, value in axes.items())
    return Scenario.parse(plain, f"{source}, grid at {where}" if axes else source)


def _baselines(base: Scenario, scenario: Scenario, longest_draft: Longest) -> Iterator[tuple[Kind, Scenario]]:
    wanted: tuple[Baseline, ...] = base.sweep.baselines
    longest = min(longest_draft(scenario), scenario.verifier.max_draft)
    lengths = [length for length in base.sweep.draft_lengths if length <= longest]
    if "stream" in wanted:
        yield Kind.STREAM, baselines.stream(scenario)
    if "device" in wanted:
        yield Kind.DEVICE, baselines.device(scenario)
    for name, kind, build in (("sequential", Kind.SEQUENTIAL, baselines.sequential), ("local", Kind.LOCAL, baselines.local)):
        if name in wanted:
            yield from ((kind, build(scenario, length)) for length in lengths)


def _cell(scenario: Scenario, kind: Kind, axes: dict[str, Any], known: dict[str, str]) -> Cell:
    check_files(scenario)
    return Cell(scenario, kind, digest_files(scenario, known), axes)
