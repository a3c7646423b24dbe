"""Real, tiny models on virtual time: a scenario without a recording, and the same one recorded and replayed."""

import json

import pytest

from airdraft.errors import SettingsError
from orchestration.cell import Cell, kind_of
from orchestration.experiment import prepare, run_cell
from orchestration.materials import Materials
from orchestration.scenario import Scenario
from orchestration.sweep.sweep import Where, run_sweep
from tests.tiny_pair import save_pair


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A scenario's plain values."""
    folder = tmp_path_factory.mktemp("models")
    target, drafter = save_pair(folder)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"id": f"p{number}", "task": "t", "prompt": "count " * number}) + "\n" for number in (1, 2, 3)))
    return {
        "name": "live",
        "machines": {"draft_step_ms": 10, "target_token_ms": 60},
        "link": {"round_trip_ms": 20, "jitter_ms": 0, "loss": 0},
        "workload": {"prompts": str(prompts)},
        "verifier": {"model": {"model": str(target), "dtype": "float32"}, "context": 256, "slots": 2},
        "device": {
            "drafter": {"kind": "model", "model": {"model": str(drafter), "dtype": "float32"}},
            "draft_length": 4,
            "max_new_tokens": 20,
        },
    }


@pytest.fixture(scope="module")
def materials():
    return Materials()


def result(materials, values):
    scenario = Scenario.parse(values)
    return run_cell(prepare(Cell(scenario, kind_of(scenario)), materials.of(scenario)), keep_journal=True)


def test_real_models_run_on_virtual_time_and_say_the_same_under_every_policy(plain, materials):
    drafting = result(materials, plain)
    assert drafting.row["responses"] == 3 and drafting.row["tokens"] == 60 and drafting.row["recording"] is None
    assert 0.2 < drafting.row["acceptance_rate"] < 1 and drafting.row["kind"] == "sequential"
    assert drafting.row["predicted_acceptance"] is not None  # as measured, since nothing told it before
    stream = result(materials, plain | {"device": {"schedule": "stream", "drafter": {"kind": "lookup"}, "max_new_tokens": 20}})
    assert stream.row["tpot_s"] == pytest.approx(0.060, rel=1e-3)
    assert result(materials, plain).journal == drafting.journal


def test_rules_that_need_the_drafters_rows_run_with_real_models(plain, materials):
    device = plain["device"] | {"rule": "speculative_sampling", "sampling": {"temperature": 0.7, "seed": 3}}
    row = result(materials, plain | {"device": device}).row
    assert (row["rule"], row["temperature"], row["failed"], row["kind"]) == ("speculative_sampling", 0.7, 0, "policy")


def test_a_sweep_takes_real_models_too(plain, tmp_path):
    path = tmp_path / "live.json"
    path.write_text(json.dumps(plain | {"sweep": {"draft_lengths": [1, 2]}}))
    outcome = run_sweep(path, tmp_path / "runs", Where(local=True, workers=1))
    assert not outcome.failures
    assert sorted({row["kind"] for row in outcome.rows}) == ["device", "local", "sequential", "stream"]
    assert json.loads((outcome.directory / "run.json").read_text())["digests"]["tokenizer"]


def test_a_prompt_that_does_not_fit_is_refused(plain, materials):
    with pytest.raises(SettingsError, match=r"verifier.context is 20"):
        result(materials, plain | {"verifier": plain["verifier"] | {"context": 20}})
