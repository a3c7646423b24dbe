"""A scenario's file: what it means, and what is refused before anything runs."""

import json
from pathlib import Path

import pytest

from airdraft.errors import SettingsError
from orchestration.scenario import Scenario, changed, check_files, files, read_scenario, read_values
from tests.made_up_recording import values

REPLAY = values(Path("/somewhere/recording.msgpack.z"))
MODELS = {"name": "live", "workload": {"prompts": "prompts.jsonl"}, "verifier": {"model": {"model": "smollm2-135m"}}}


def parsed(**changes):
    return Scenario.parse(REPLAY | changes)


def refused(**changes):
    with pytest.raises(SettingsError) as caught:
        parsed(**changes)
    return caught.value.message


def test_a_recording_drafts_unless_another_drafter_is_named():
    assert parsed().device.drafter.kind == "recording"
    assert parsed(device={"drafter": {"kind": "lookup"}}).device.drafter.kind == "lookup"
    assert Scenario.parse(MODELS | {"device": {"drafter": {"kind": "lookup"}}}).replayed is False


def test_one_recording_may_stand_for_a_list_of_one():
    assert parsed(workload={"recording": "/a"}).workload.recording == (Path("/a"),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lnik": {}}, "Did you mean 'link'"),
        ({"link": {"presett": "5g"}}, "Did you mean 'preset'"),
        ({"device": {"draft_lenght": 4}}, "Did you mean 'draft_length'"),
        ({"workload": {"recording": ["/a"], "taskss": ["qa"]}}, "Did you mean 'tasks'"),
        ({"machines": {"draft_step": 1}}, "Did you mean 'draft_step_ms'"),
        ({"sweep": {"baselines": ["streaming"]}}, "baselines"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(changes, words):
    assert words in refused(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": {"stopping": "fixd"}}, "Did you mean 'fixed'"),
        ({"device": {"schedule": "sequental"}}, "Did you mean 'sequential'"),
        ({"device": {"drafter": {"kind": "lokup"}}}, "Did you mean 'lookup'"),
        ({"device": {"rule": "exakt"}}, "Did you mean 'exact'"),
        ({"device": {"rule_parameters": {"width": 3}}}, "rule"),
        ({"link": {"preset": "6g"}}, "5g"),
    ],
)
def test_an_unknown_policy_or_link_is_refused_by_name(changes, words):
    assert words in refused(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": {"rule": "speculative_sampling"}}, "needs the drafter's probabilities"),
        ({"device": {"drafter": {"kind": "model"}}}, "'model' with a recording"),
        ({"device": {"fallback": {"then": "alone"}}}, "leaves the recorded text"),
        ({"device": {"draft_length": 17}}, "verifier.max_draft 16"),
        ({"link": {"uplink_mbps": -1}}, "uplink_mbps"),
        ({"machines": {"draft_step_ms": -1, "target_token_ms": 1}}, "draft_step_ms"),
        ({"machines": {"device": "/p.toml", "draft_step_ms": 1}}, "exclude each other"),
        ({"devices": 0}, "devices"),
        ({"name": "../elsewhere"}, "name"),
        ({"workload": {}}, "either recording"),
        ({"workload": {"recording": ["/a"], "prompts": "/b"}}, "either recording"),
        ({"workload": {"recording": ["/a"], "arrivals": "poisson"}}, "arrivals_per_s"),
        ({"workload": {"recording": ["/a"], "every_s": 1}}, "every_s"),
        ({"sweep": {"draft_lengths": []}}, "draft length"),
        ({"sweep": {"draft_lengths": [0]}}, "draft length"),
    ],
)
def test_an_impossible_combination_is_refused_in_words(changes, words):
    assert words in refused(**changes)


def test_a_lossy_rule_is_refused_on_a_replay(monkeypatch):
    from airdraft import rules

    monkeypatch.setitem(rules.RULES, "generous", rules.RuleTraits(needs_rows=False, lossless=False))
    assert "lossy" in refused(device={"rule": "generous"})


def test_real_models_need_a_target_and_take_what_a_replay_cannot():
    with pytest.raises(SettingsError, match=r"verifier.model.model"):
        Scenario.parse(MODELS | {"verifier": {}})
    with pytest.raises(SettingsError, match=r"without workload\.recording"):
        Scenario.parse(MODELS | {"device": {"drafter": {"kind": "recording"}}})
    live = Scenario.parse(MODELS | {"device": {"rule": "speculative_sampling", "drafter": {"kind": "random"}}})
    assert live.device.rule == "speculative_sampling"


def test_several_faults_are_listed_together():
    message = refused(devices=0, link={"loss": 2})
    assert "devices" in message and "loss" in message


def toml(folder, text):
    path = folder / "trial.toml"
    path.write_text(text)
    return path


def test_relative_paths_count_from_the_files_folder_in_the_grid_too(tmp_path):
    path = toml(
        tmp_path,
        """
        [workload]
        recording = "data/a.z"
        [machines]
        device = "phone.toml"
        target_token_ms = 10
        [grid]
        "link.trace" = ["one.csv", "/two.csv"]
        "link" = [{ trace = "three.csv" }, { preset = "5g" }]
        "machines" = [{ device = "x.toml", verifier = "y.toml" }]
        """,
    )
    scenario = read_scenario(path)
    assert scenario.name == "trial"
    assert scenario.workload.recording == (tmp_path / "data/a.z",)
    assert scenario.machines.device == tmp_path / "phone.toml"
    assert scenario.grid["link.trace"] == [str(tmp_path / "one.csv"), "/two.csv"]
    assert scenario.grid["link"] == [{"trace": str(tmp_path / "three.csv")}, {"preset": "5g"}]
    assert scenario.grid["machines"] == [{"device": str(tmp_path / "x.toml"), "verifier": str(tmp_path / "y.toml")}]


def test_a_scenario_may_be_json(tmp_path):
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"name": "j", "workload": {"recording": ["a"]}}))
    assert read_scenario(path).workload.recording == (tmp_path / "a",)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.toml"):
        read_values(tmp_path / "absent.toml")
    with pytest.raises(SettingsError, match=r"trial\.toml.*TOML"):
        read_values(toml(tmp_path, "= 3"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"bytes\.toml"):
        read_values(tmp_path / "bytes.toml")


def test_missing_files_are_refused_by_name(tmp_path):
    scenario = parsed(link={"trace": str(tmp_path / "absent.csv")}, workload={"recording": [str(tmp_path / "a")]})
    assert [path.name for path in files(scenario)] == ["a", "absent.csv"]
    (tmp_path / "a").touch()
    with pytest.raises(SettingsError, match=r"absent\.csv"):
        check_files(scenario)
    (tmp_path / "absent.csv").touch()
    check_files(scenario)


def test_values_can_be_changed_at_dotted_keys(tmp_path):
    plain = changed(REPLAY, {"link.preset": "lte", "link.trace": "t.csv", "verifier.slots": 3}, tmp_path)
    assert plain["link"]["preset"] == "lte" and plain["link"]["trace"] == str(tmp_path / "t.csv")
    assert plain["verifier"] == {"slots": 3} and REPLAY["link"]["preset"] == "5g"
    with pytest.raises(SettingsError, match="not a table"):
        changed(REPLAY, {"name.first": 1}, tmp_path)


def test_only_fixed_drafts_have_a_fixed_length():
    assert parsed(device={"draft_length": 3}).fixed_draft_length == 3
    assert parsed(device={"draft_length": 3, "schedule": "stream"}).fixed_draft_length is None
