"""Sweeps run in this process: what is kept, what is left out the second time, what a failure does."""

import json

import pytest

from airdraft.errors import SettingsError
from orchestration.prediction import best_lengths
from orchestration.scenario import read_values
from orchestration.summary import read_rows
from orchestration.sweep import sweep as sweeps
from orchestration.sweep.directory import RunDirectory
from orchestration.sweep.sweep import Where, batches, check_sweep, run_sweep
from orchestration.sweep.work import Finished
from tests.made_up_recording import values, written

HERE = Where(local=True, workers=1)


class Watcher:
    def __init__(self):
        self.told = []

    def started(self, cells, skipped):
        self.told.append((cells, skipped))

    def advanced(self, finished):
        self.told.append(len(finished))


@pytest.fixture
def sweep(tmp_path):
    """A sweep of eight cells in a file."""
    recording = written(tmp_path, count=2, tokens=12)

    def write(**changes):
        plain = values(recording, grid={"link.round_trip_ms": [0, 80]}, sweep={"draft_lengths": [2, 4]}) | changes
        path = tmp_path / "trial.json"
        path.write_text(json.dumps(plain))
        return path

    return write


def test_a_run_has_its_tables_settings_and_digests(sweep, tmp_path):
    outcome = run_sweep(sweep(), tmp_path / "runs", HERE)
    assert (outcome.run, outcome.skipped, outcome.failures) == (9, 0, [])
    rows = read_rows(outcome.directory / "summary.parquet")
    assert rows == outcome.rows
    assert sorted({row["kind"] for row in rows}) == ["device", "local", "sequential", "stream"]
    assert len(read_rows(outcome.directory / "responses.parquet")) == 9 * 2
    about = json.loads((outcome.directory / "run.json").read_text())
    assert about["simulated"] is True and about["name"] == "test" and about["versions"]["numpy"]
    assert set(about["digests"]) == {"made_up", "made_up.msgpack.z"} and about["seeds"] == [0]
    assert about["cells"] == [row["cell"] for row in rows]
    assert json.loads((outcome.directory / "failures.json").read_text()) == []


def test_the_best_fixed_length_is_marked_in_every_environment(sweep, tmp_path):
    rows = run_sweep(sweep(), tmp_path / "runs", HERE).rows
    best = [row for row in rows if row["best_fixed"]]
    assert sorted((row["kind"], row["round_trip_ms"]) for row in best if row["kind"] != "local") == [
        ("sequential", 0.0),
        ("sequential", 80.0),
    ]
    assert [row["kind"] for row in best].count("local") == 1
    assert best_lengths(rows).lengths == ()  # lengths were left out


def test_a_second_run_skips_every_cell_and_keeps_the_tables(sweep, tmp_path):
    first = run_sweep(sweep(), tmp_path / "runs", HERE)
    watcher = Watcher()
    second = run_sweep(sweep(), tmp_path / "runs", HERE, watcher)
    assert (second.run, second.skipped, watcher.told) == (0, 9, [(0, 9)])
    assert second.rows == first.rows


def test_a_grown_grid_runs_only_what_is_new_and_a_shrunk_one_shows_only_what_is_asked(sweep, tmp_path):
    run_sweep(sweep(), tmp_path / "runs", HERE)
    grown = run_sweep(sweep(grid={"link.round_trip_ms": [0, 80, 160]}), tmp_path / "runs", HERE)
    assert (grown.run, grown.skipped) == (3, 9)
    shrunk = run_sweep(sweep(grid={"link.round_trip_ms": [160]}), tmp_path / "runs", HERE)
    assert shrunk.run == 0 and {row["round_trip_ms"] for row in shrunk.rows} == {160.0, None}


def test_another_recording_under_the_same_name_is_run_again(sweep, tmp_path):
    run_sweep(sweep(), tmp_path / "runs", HERE)
    written(tmp_path, count=2, tokens=12, acceptance=0.3)
    assert run_sweep(sweep(), tmp_path / "runs", HERE).skipped == 0


def test_journals_are_kept_when_asked_for(sweep, tmp_path):
    without = run_sweep(sweep(), tmp_path / "runs", HERE)
    assert not list((without.directory / "journals").iterdir())
    options = {"draft_lengths": [2, 4], "journals": True}
    again = run_sweep(sweep(sweep=options), tmp_path / "runs", HERE)
    assert again.run == 9 and len(list((again.directory / "journals").iterdir())) == 9


def test_one_failing_cell_is_listed_and_harms_no_other(sweep, tmp_path, monkeypatch):
    from orchestration.sweep import work

    real = work.run_cell

    def failing(prepared, **options):
        if prepared.cell.policy == "sequential k=2" and prepared.scenario.link.round_trip_ms == 80:
            raise RuntimeError("planted")
        return real(prepared, **options)

    monkeypatch.setattr(work, "run_cell", failing)
    outcome = run_sweep(sweep(), tmp_path / "runs", HERE)
    assert outcome.run == 8 and len(outcome.rows) == 8
    (listed,) = json.loads((outcome.directory / "failures.json").read_text())
    assert "planted" in listed["failure"] and listed["axes"] == {"link.round_trip_ms": 80} and listed["policy"] == "sequential k=2"
    monkeypatch.setattr(work, "run_cell", real)
    assert run_sweep(sweep(), tmp_path / "runs", HERE).run == 1


def test_an_interrupted_run_keeps_what_was_finished(sweep, tmp_path):
    class Impatient(Watcher):
        def advanced(self, finished):
            super().advanced(finished)
            if len(self.told) == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep(), tmp_path / "runs", HERE, Impatient())
    assert len(read_rows(tmp_path / "runs/test/summary.parquet")) == 3
    assert run_sweep(sweep(), tmp_path / "runs", HERE).skipped == 3


def test_nothing_runs_when_one_cell_is_impossible(sweep, tmp_path):
    path = sweep(grid={"device.max_new_tokens": [12, 13]})
    with pytest.raises(SettingsError, match="up to 12"):
        run_sweep(path, tmp_path / "runs", HERE)
    with pytest.raises(SettingsError, match="up to 12"):
        check_sweep(path)
    assert not (tmp_path / "runs").exists()
    assert check_sweep(sweep()) == 9


def test_a_damaged_cell_is_named(sweep, tmp_path):
    outcome = run_sweep(sweep(), tmp_path / "runs", HERE)
    victim = next((outcome.directory / "cells").iterdir())
    victim.write_bytes(b"\xc1")
    with pytest.raises(SettingsError, match=victim.name):
        run_sweep(sweep(), tmp_path / "runs", HERE)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file"):
        RunDirectory(tmp_path / "file" / "run").add(Finished("key", {}))


def test_batches_are_small_when_there_is_little_and_bounded_when_there_is_much(sweep):
    cells = sweeps.checked(read_values(sweep()), "trial", sweeps.Materials())
    assert [len(batch.cells) for batch in batches(cells, 2, False)] == [1] * 9
    many = batches(cells * 100, 2, True)
    assert {len(batch.cells) for batch in many[:-1]} == {8} and sum(len(batch.cells) for batch in many) == 900
    assert many[0].keep_journals
