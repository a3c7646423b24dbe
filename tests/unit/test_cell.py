"""Cells: what their digests depend on, how they are called, and the baselines."""

from pathlib import Path

import pytest

from airdraft.errors import SettingsError
from orchestration import baselines
from orchestration.cell import Cell, Kind, canonical, digest_files, kind_of, moved, renamed
from orchestration.scenario import Scenario
from tests.made_up_recording import values


def cell(file="/r.z", digest="11", kind=Kind.SEQUENTIAL, **changes):
    return Cell(Scenario.parse(values(Path(file)) | changes), kind, {file: digest})


def test_a_key_depends_on_settings_and_contents_not_on_names_and_places():
    key = cell().key
    assert cell(name="other").key == key and cell(file="/elsewhere/s.z").key == key
    assert cell(sweep={"journals": True}).key == key and cell(grid={"seed": [1]}).key == key
    assert cell(digest="22").key != key
    assert cell(seed=1).key != key and cell(kind=Kind.LOCAL).key != key
    assert cell(device={"draft_length": 5}).key != key


def test_a_key_depends_on_the_software(monkeypatch):
    key = cell().key
    monkeypatch.setattr("orchestration.cell.__version__", "9.9")
    assert cell().key != key


def test_an_environment_is_all_but_the_policy_and_linkless_leaves_out_the_link_too():
    one, policy, link, machine = (
        cell(), cell(device={"draft_length": 8, "schedule": "stream"}), cell(link={"preset": "lte"}), cell(seed=4)
    )  # fmt: skip
    assert one.environment == policy.environment != link.environment
    assert one.linkless == link.linkless != machine.linkless
    local = Cell(baselines.local(one.scenario, 3), Kind.LOCAL, one.file_digests)
    alone = Cell(baselines.device(one.scenario), Kind.DEVICE, one.file_digests)
    assert local.linkless == alone.linkless == one.linkless
    assert cell(device={"max_new_tokens": 9}).environment != one.environment


def test_kinds_follow_from_the_policy():
    assert kind_of(cell().scenario) is Kind.SEQUENTIAL
    assert kind_of(cell(device={"schedule": "stream"}).scenario) is Kind.STREAM
    assert kind_of(cell(device={"drafter": {"kind": "lookup"}}).scenario) is Kind.POLICY


def test_policies_have_names_for_a_legend():
    assert cell().policy == "sequential k=4"
    assert cell(kind=Kind.LOCAL).policy == "local k=4"
    assert cell(kind=Kind.STREAM).policy == "stream"
    assert cell(kind=Kind.POLICY, device={"drafter": {"kind": "lookup"}, "draft_length": 2}).policy == "sequential lookup k=2"


def test_baselines_change_the_policy_and_the_link_and_nothing_else():
    base = cell(device={"drafter": {"kind": "lookup"}, "draft_length": 2, "max_new_tokens": 7}, link={"preset": "lte"}).scenario
    stream, sequential, local = baselines.stream(base), baselines.sequential(base, 6), baselines.local(base, 6)
    assert (stream.device.schedule, sequential.device.schedule) == ("stream", "sequential")
    assert sequential.device.drafter.kind == "recording" and sequential.fixed_draft_length == 6
    assert stream.link == sequential.link == base.link
    assert local.link.preset is None and local.connection.open_round_trips == 0 and local.connection.framing.overhead(100) < 20
    assert all(one.device.max_new_tokens == 7 and one.machines == base.machines for one in (stream, sequential, local))


def test_streams_that_differ_in_their_drafts_are_one_cell():
    one, other = (cell(device={"schedule": "stream", "draft_length": length}).scenario for length in (2, 5))
    assert canonical(one) == canonical(other)
    assert canonical(cell().scenario) == cell().scenario


def test_files_are_digested_once_and_named_when_missing(tmp_path):
    path = tmp_path / "r.z"
    path.write_bytes(b"abc")
    known = {}
    scenario = Scenario.parse(values(path))
    assert digest_files(scenario, known) == {str(path): "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    path.unlink()
    assert digest_files(scenario, known) == known
    with pytest.raises(SettingsError, match=r"r\.z"):
        digest_files(scenario, {})


def test_a_moved_scenario_names_its_files_where_they_lie_now():
    scenario = moved(cell().scenario, {"/r.z": Path("/tmp/there.z")})
    assert scenario.workload.recording == (Path("/tmp/there.z"),) and scenario.link == cell().scenario.link
    assert renamed({"a": ["x", 1], "b": {"c": "x"}}, {"x": "y"}) == {"a": ["y", 1], "b": {"c": "y"}}
