"""One cell from its settings to its row."""

import json
from pathlib import Path

import pytest

from airdraft.errors import SettingsError
from airdraft.journal import read_journal
from orchestration import baselines
from orchestration.cell import Cell, Kind, kind_of, moved
from orchestration.experiment import prepare, run_cell
from orchestration.replay_material import ReplayMaterial
from orchestration.scenario import Scenario
from orchestration.summary import RESPONSES, SUMMARY
from tests.made_up_recording import recording, values

RECORDING = recording(count=6, tokens=24)
MATERIAL = ReplayMaterial((RECORDING,))
FILES = {"/data/r.z": "12"}


def cell(change=lambda scenario: scenario, kind=None, **changes):
    scenario = change(Scenario.parse(values(Path("/data/r.z")) | changes))
    return Cell(scenario, kind or kind_of(scenario), FILES, {"seed": 0})


def row(*arguments, **changes):
    return run_cell(prepare(cell(*arguments, **changes), MATERIAL)).row


def test_a_row_says_what_was_run_where_and_with_which_result():
    result = run_cell(prepare(cell(), MATERIAL))
    found = result.row
    assert set(found) <= {column.name for column in SUMMARY}
    assert (found["kind"], found["policy"], found["simulated"], found["responses"], found["failed"]) == (
        "sequential", "sequential k=4", True, 6, 0
    )  # fmt: skip
    assert found["tokens"] == 6 * 24 and found["recording"] == "r.z" and found["recording_digest"] == RECORDING.digest
    assert (found["task"], found["prompts"], found["temperature"], found["max_new_tokens"]) == ("easy+hard", 6, 0.0, 24)
    assert (found["draft_step_s"], found["target_token_s"], found["verifier_source"]) == (0.010, 0.060, "assumed")
    assert (found["link"], found["channel"], found["round_trip_ms"]) == ("5g", "constant", 17.0)
    settings = json.loads(found["settings"])
    assert settings["workload"]["recording"] == ["r.z"] and settings["device"]["draft_length"] == 4
    assert settings["device"]["max_new_tokens"] == 24
    assert [one["name"] for one in result.responses] == [entry.name for entry in RECORDING.entries]
    assert all(set(one) <= {column.name for column in RESPONSES} and one["tokens"] == 24 for one in result.responses)


def test_the_same_cell_gives_the_same_result():
    first, second = (run_cell(prepare(cell(), MATERIAL), keep_journal=True) for _ in range(2))
    assert first.row | {"wall_s": 0} == second.row | {"wall_s": 0}
    assert (first.responses, first.journal) == (second.responses, second.journal)


def test_a_steady_link_gives_what_the_cost_model_predicts_of_text_without_memory():
    long = ReplayMaterial((recording(count=30, tokens=120),))
    found = run_cell(prepare(cell(), long)).row
    assert found["tpot_s"] == pytest.approx(found["predicted_tpot_s"], rel=0.06)
    assert found["tokens_per_round"] == pytest.approx(found["predicted_tokens_per_round"], rel=0.06)


def test_a_stream_comes_at_the_targets_own_pace_and_drafting_trades_rounds_for_its_time():
    stream, drafting = row(device={"schedule": "stream"}), row()
    assert stream["tpot_s"] == pytest.approx(0.060, rel=1e-3) and stream["rounds_per_response"] == 0
    assert stream["predicted_tpot_s"] == pytest.approx(0.060)
    assert drafting["target_s_per_token"] < 0.6 * stream["target_s_per_token"]
    assert stream["drafter"] == "recording" or stream["drafter"] == "lookup"


def test_without_a_link_drafting_is_faster_and_no_link_is_named():
    local, linked = row(lambda scenario: baselines.local(scenario, 4), Kind.LOCAL), row()
    assert local["tpot_s"] < linked["tpot_s"] - 0.004
    assert (local["link"], local["channel"], local.get("round_trip_ms")) == ("none", None, None)
    assert local["tokens_per_round"] == linked["tokens_per_round"]


def test_the_device_alone_says_how_often_it_would_agree_and_costs_the_cloud_nothing():
    lone = row(baselines.device, Kind.DEVICE)
    missed = sum(len(entry.misses) for entry in RECORDING.entries)
    assert lone["agreement"] == pytest.approx(1 - missed / (6 * 24))
    assert lone["tpot_s"] == pytest.approx(0.010) and lone["target_s_per_token"] is None and lone["draft_length"] is None


def test_a_lookup_drafter_is_exact_on_a_recording_too():
    found = row(device={"drafter": {"kind": "lookup"}, "draft_length": 3})
    assert found["kind"] == "policy" and found["tokens"] == 6 * 24


def test_a_random_drafter_is_hardly_ever_right():
    found = row(device={"drafter": {"kind": "random"}, "draft_length": 3})
    assert found["acceptance_rate"] < 0.05 and found["tokens_per_round"] < 1.1


def test_a_journal_holds_every_response_and_where_the_figures_come_from(tmp_path):
    result = run_cell(prepare(cell(), MATERIAL), keep_journal=True)
    path = tmp_path / "journal.msgpack"
    path.write_bytes(result.journal)
    journal = read_journal(path)
    assert journal.header.simulated and journal.header.sources["verify"] == "assumed"
    assert journal.header.digests == {"made_up": RECORDING.digest, "r.z": "12"}
    assert [response.tokens for response in journal.responses] == [entry.response for entry in RECORDING.entries]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workload": {"recording": ["/data/r.z"], "tasks": ["esay"]}}, "Did you mean 'easy'"),
        ({"device": {"max_new_tokens": 25}}, "up to 24"),
        ({"device": {"draft_length": 17}, "verifier": {"max_draft": 32}}, "drafts of 16 tokens were recorded"),
        ({"device": {"sampling": {"temperature": 1.0}}}, "recorded sampling"),
        ({"verifier": {"context": 30}}, "context of 36"),
        ({"machines": {"draft_step_ms": 1}}, "no machine"),
        ({"link": {"channel": "raileigh"}}, "Did you mean 'rayleigh'"),
    ],
)
def test_what_the_recording_or_the_machines_cannot_answer_is_refused_before_anything_runs(changes, words):
    with pytest.raises(SettingsError, match=words):
        prepare(cell(**changes), MATERIAL)


def test_files_that_lie_elsewhere_leave_the_row_as_it_was():
    here = cell()
    there = moved(here.scenario, {"/data/r.z": Path("/tmp/r.z")})
    elsewhere, usual = run_cell(prepare(here, MATERIAL, there)).row, row()
    assert elsewhere | {"wall_s": 0} == usual | {"wall_s": 0}


def test_responses_that_fail_are_counted_and_keep_out_of_the_figures():
    device = {"fallback": {"then": "stop", "deadline_s": 0.2}, "draft_length": 4}
    result = run_cell(prepare(cell(link={"round_trip_ms": 300, "jitter_ms": 0}, device=device), MATERIAL))
    assert (result.row["failed"], result.row["responses"], result.row.get("tpot_s")) == (6, 0, None)
    assert all(one["failure"].startswith("unavailable.link_lost") for one in result.responses)
