"""A report is refused where a run's parts do not belong together."""

import json

import pytest

from airdraft.errors import SettingsError
from orchestration.report.run import read_run
from tests.made_up_run import row, two_places, written_journal, written_run


def test_the_stamp_names_run_digest_seeds_versions_and_mark(tmp_path):
    run = read_run(written_run(tmp_path))
    for part in ("SIMULATED", "run made_up", run.digest[:12], "seeds 7", "airdraft 0.1.0", "python 3.11"):
        assert part in run.stamp


def test_the_digest_depends_on_what_was_run_and_not_on_where_it_lies(tmp_path):
    one, moved = read_run(written_run(tmp_path / "a")), read_run(written_run(tmp_path / "b", settings={"name": "other place"}))
    assert one.digest == moved.digest
    more = read_run(written_run(tmp_path / "c", seeds=[7, 8]))
    assert more.digest != one.digest


def test_a_missing_run_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="airdraft sweep"):
        read_run(tmp_path / "nothing")


def test_a_run_without_tables_is_refused(tmp_path):
    (written_run(tmp_path) / "summary.parquet").unlink()
    with pytest.raises(SettingsError, match=r"summary\.parquet"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cells": ["other"]}, "whose digest run.json does not state"),
        ({"digests": {"made_up": "cd" * 32}}, "made with a file or model of digest abab"),
        ({"seeds": [1]}, "seed 7"),
        ({"version": "9.9"}, "version 0.1.0"),
        ({"simulated": False}, "simulated True"),
        ({"format": "something"}, "not a run's file"),
        ({"seeds": None}, "damaged: seeds"),
    ],
)
def test_a_table_that_is_not_what_the_run_states_is_refused(tmp_path, changes, why):
    written_run(tmp_path, **changes)
    with pytest.raises(SettingsError, match=why):
        read_run(tmp_path)


def test_two_rows_for_one_cell_are_refused(tmp_path):
    written_run(tmp_path, [*two_places(), row("s5", "near", "stream")])
    with pytest.raises(SettingsError, match="more than one row"):
        read_run(tmp_path)


def test_a_journal_made_with_other_files_is_refused(tmp_path):
    run = read_run(written_run(tmp_path))
    written_journal(tmp_path, "d5-4", digest="cd" * 32)
    assert run.has_journal("d5-4") and not run.has_journal("s5")
    with pytest.raises(SettingsError, match="cdcdcdcdcdcd"):
        run.journal("d5-4")


def test_cells_without_a_result_are_counted(tmp_path):
    cells = [one["cell"] for one in two_places()]
    run = read_run(written_run(tmp_path, cells=[*cells, "failed"]))
    assert run.missing == 1
    assert json.loads((tmp_path / "run.json").read_text())["cells"][-1] == "failed"
