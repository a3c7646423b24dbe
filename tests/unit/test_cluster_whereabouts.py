"""Where a cluster is, is known while its process lives and to its user alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.cluster import whereabouts
from orchestration.cluster.whereabouts import Whereabouts


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(whereabouts, "user_state_path", lambda name: tmp_path / name)
    return tmp_path / "airdraft" / "cluster.json"


def test_what_was_noted_is_found_until_it_is_forgotten():
    assert whereabouts.find() is None
    whereabouts.note("10.0.0.1:6379", is_guarded=True)
    assert whereabouts.find() == Whereabouts("10.0.0.1:6379", os.getpid(), True)
    whereabouts.forget()
    assert whereabouts.find() is None
    whereabouts.forget()


def test_a_process_that_has_ended_left_nothing_of_use(state):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    whereabouts.note("10.0.0.1:6379", is_guarded=True)
    state.write_text(json.dumps({"address": "10.0.0.1:6379", "process_id": ended.pid, "is_guarded": True}))
    assert whereabouts.find() is None


def test_another_process_s_note_is_not_ours_to_forget(state):
    whereabouts.note("10.0.0.1:6379", is_guarded=False)
    state.write_text(json.dumps({"address": "10.0.0.2:6379", "process_id": os.getppid(), "is_guarded": False}))
    whereabouts.forget()
    assert whereabouts.find() == Whereabouts("10.0.0.2:6379", os.getppid(), False)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"address": "a"}', "\x00"])
def test_a_damaged_note_is_as_good_as_none(state, text):
    state.parent.mkdir()
    state.write_text(text)
    assert whereabouts.find() is None


def test_where_nothing_can_be_written_nothing_fails(state):
    state.parent.write_text("a file where the folder should be")
    whereabouts.note("10.0.0.1:6379", is_guarded=True)
    assert whereabouts.find() is None
