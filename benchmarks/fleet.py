"""How long a thousand simulated devices on one simulated verifier take in real time: the unchanged session and batcher, on virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.measurement import Report
from orchestration.experiment import prepare, run_cell
from orchestration.materials import Materials
from orchestration.scenario import changed, read_values
from orchestration.sweep.grid import single

SCENARIO = Path(__file__).parents[1] / "deploy" / "scenarios" / "fleet.toml"
BAR_S = 60.0
DEVICES, TOKENS = 1000, 64
ARRIVALS: dict[str, dict[str, Any]] = {
    "8 a second": {"arrivals": "poisson", "arrivals_per_s": 8.0},
    "24 a second": {"arrivals": "poisson", "arrivals_per_s": 24.0},
    "all at once": {"arrivals": "together"},
}


def run(quick: bool) -> Report:
    """The same devices, arriving slowly, fast, and all at once."""
    rows = {name: _row(arrivals, DEVICES // 20 if quick else DEVICES) for name, arrivals in ARRIVALS.items()}
    return Report(
        name="fleet",
        question=f"Real seconds for {DEVICES} devices × {TOKENS} tokens on one simulated verifier, drafts of 4 tokens, replayed.",
        columns=("arrivals", "real s", "simulated s", "tokens/s", "TTFT p50 / p99 s", "TPOT p50 / p99 ms", "fairness"),
        rows=tuple(
            (
                name,
                f"{row['wall_s']:.1f}",
                f"{row['duration_s']:.1f}",
                f"{row['tokens_per_s']:.0f}",
                f"{row['ttft_p50_s']:.2f} / {row['ttft_p99_s']:.2f}",
                f"{1e3 * row['tpot_p50_s']:.0f} / {1e3 * row['tpot_p99_s']:.0f}",
                f"{row['fairness']:.2f}",
            )
            for name, row in rows.items()
        ),
        figures={name: row["wall_s"] for name, row in rows.items()},
        headline=f"{max(row['wall_s'] for row in rows.values()):.0f} s: {DEVICES} devices × {TOKENS} tokens on one simulated verifier, "
        "however they arrive",
        bar=f"{BAR_S:g} s each",
        met=all(row["wall_s"] <= BAR_S and row["failed"] == 0 for row in rows.values()),
        notes=("One process, one core. Figures in virtual time do not depend on the machine.",),
    )


def _row(arrivals: dict[str, Any], devices: int) -> dict[str, Any]:
    values = {key: value for key, value in read_values(SCENARIO).items() if key not in ("grid", "sweep")}
    workload = {key: value for key, value in values["workload"].items() if not key.startswith("arrivals")}
    settings = changed(values, {"workload": workload | arrivals, "devices": devices, "device.max_new_tokens": TOKENS}, SCENARIO.parent)
    cell = single(settings, str(SCENARIO))
    return run_cell(prepare(cell, Materials().of(cell.scenario))).row
