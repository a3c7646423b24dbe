"""What a first sweep on the shipped recordings takes on Ray, what a second one takes, and how well the cost model chose draft lengths."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measurement import Report
from orchestration.prediction import BAR, best_lengths
from orchestration.sweep.sweep import Outcome, Where, processors, run_sweep

SCENARIOS = Path(__file__).parents[1] / "deploy" / "scenarios"
BAR_S = 600.0
LEAST_CELLS, LEAST_PROMPTS = 500, 60


def run(quick: bool) -> Report:
    """Twice in an empty directory; the second time nothing is left to run."""
    path = SCENARIOS / ("smoke.toml" if quick else "first_sweep.toml")
    with tempfile.TemporaryDirectory() as runs:
        first, first_s = _timed(path, Path(runs))
        second, second_s = _timed(path, Path(runs))
    agreement = best_lengths(first.rows)
    prompts = min(row["prompts"] for row in first.rows)
    cell_s = sum(row["wall_s"] for row in first.rows) / len(first.rows)
    figures: dict[str, Any] = {
        "cells": len(first.rows),
        "prompts": prompts,
        "first_s": first_s,
        "second_s": second_s,
        "cell_s": cell_s,
        "failed": len(first.failures),
        "skipped": second.skipped,
        "agreement": agreement.share,
        "exceptions": [
            {**one.conditions, "found": one.found, "predicted": one.predicted, "lost": one.lost} for one in agreement.exceptions
        ],
    }
    enough = len(first.rows) >= LEAST_CELLS and prompts >= LEAST_PROMPTS and second.skipped == len(first.rows)
    return Report(
        name="sweep",
        question=f"Cells × prompts of {path.name} on Ray, on a cluster of its own with {processors()} processors.",
        columns=("cells", "prompts", "first run s", "second run s", "a cell s", "cost model's k within one token"),
        rows=(
            (
                str(len(first.rows)),
                str(prompts),
                f"{first_s:.0f}",
                f"{second_s:.1f}",
                f"{cell_s:.2f}",
                f"{agreement.share:.0%} of {len(agreement.lengths)}",
            ),
        ),
        figures=figures,
        headline=f"{first_s:.0f} s: a sweep of {len(first.rows)} cells × {prompts} prompts on {processors()} processors; the cost model's "
        f"best draft length is within one token of the one found in {agreement.share:.0%} of {len(agreement.lengths)} sets of conditions",
        bar=f"{LEAST_CELLS} cells × {LEAST_PROMPTS} prompts in {BAR_S:g} s, none the second time; the cost model's k in {BAR:.0%}",
        met=enough and first_s <= BAR_S and agreement.holds and not first.failures,
        notes=tuple(
            f"found {one.found}, predicted {one.predicted}, which is {one.lost:.1%} slower: {dict(one.conditions)}"
            for one in agreement.exceptions
        ),
    )


def _timed(path: Path, runs: Path) -> tuple[Outcome, float]:
    started = time.perf_counter()
    outcome = run_sweep(path, runs, Where())
    return outcome, time.perf_counter() - started
