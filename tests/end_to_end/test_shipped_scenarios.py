"""The scenarios that are shipped: all of them possible, the smallest run whole, a fleet of some devices."""

from pathlib import Path

import pytest

from orchestration.experiment import prepare, run_cell
from orchestration.materials import Materials
from orchestration.recording.recording import read_recording
from orchestration.scenario import changed, read_scenario, read_values
from orchestration.sweep.grid import single
from orchestration.sweep.sweep import Where, check_sweep, run_sweep
from tests.worlds import require

FOLDER = Path(__file__).parents[2] / "deploy" / "scenarios"
RECORDINGS = FOLDER.parent / "recordings"
NAMES = sorted(path.name for path in FOLDER.glob("*.toml"))
RECORDED = pytest.mark.skipif(
    len(list(RECORDINGS.glob("*.msgpack.z"))) < 3, reason="deploy/recordings does not hold all three recordings yet"
)


def test_every_shipped_file_is_a_scenario_of_its_own_name():
    assert {"first_sweep.toml", "win_lose_map.toml", "traces.toml", "fleet.toml", "smoke.toml", "links.toml"} <= set(NAMES)
    for name in NAMES:
        assert read_scenario(FOLDER / name).name == name.removesuffix(".toml")


@RECORDED
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_possible(name):
    model = read_scenario(FOLDER / name).verifier.model
    if model is not None:
        require(model.model)
    cells = check_sweep(FOLDER / name)
    assert cells >= {"first_sweep.toml": 500, "smoke.toml": 12}.get(name, 1)


def test_the_first_sweep_has_sixty_prompts():
    assert read_scenario(FOLDER / "first_sweep.toml").workload.count == 60


@pytest.mark.skipif(not (RECORDINGS / "gsm8k_test.msgpack.z").exists(), reason="deploy/recordings holds no GSM8K")
def test_the_smallest_sweep_shows_what_the_model_of_costs_expects(tmp_path):
    outcome = run_sweep(FOLDER / "smoke.toml", tmp_path, Where(local=True, workers=1))
    rows = {(row["kind"], row["draft_length"], row["round_trip_ms"]): row for row in outcome.rows}
    assert not outcome.failures and {row["failed"] for row in outcome.rows} == {0}
    stream = rows["stream", None, 5.0]
    assert stream["tpot_s"] == pytest.approx(0.060, rel=0.01)
    near, far = rows["sequential", 4, 5.0], rows["sequential", 4, 100.0]
    assert near["tpot_s"] < stream["tpot_s"] and near["tpot_s"] < far["tpot_s"]
    assert near["tokens_per_round"] == far["tokens_per_round"] > 2
    assert near["target_s_per_token"] < stream["target_s_per_token"]


@RECORDED
def test_a_part_of_the_fleet_is_served_whole():
    values = {key: value for key, value in read_values(FOLDER / "fleet.toml").items() if key not in ("grid", "sweep")}
    cell = single(changed(values, {"devices": 40, "device.max_new_tokens": 16}, FOLDER), "fleet.toml")
    result = run_cell(prepare(cell, Materials().of(cell.scenario)))
    row = result.row
    recorded = {entry.name: len(entry.response) for entry in read_recording(RECORDINGS / "spec_bench.msgpack.z").entries}
    assert [response["tokens"] for response in result.responses] == [min(16, recorded[response["name"]]) for response in result.responses]
    assert (row["responses"], row["failed"]) == (40, 0) and 0.5 < row["fairness"] <= 1
    assert row["batch_mean"] > 1
