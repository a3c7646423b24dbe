"""Cells in processes of their own, and files carried to where cells run."""

import multiprocessing
import os
import signal
import time

from orchestration.cell import Cell, Kind, digest_files
from orchestration.scenario import Scenario
from orchestration.sweep.executors import DIED, Inline, Processes
from orchestration.sweep.inputs import Inputs
from orchestration.sweep.work import Batch, Finished, run_batch
from tests.made_up_recording import values, written


def cells(path, count=3):
    scenarios = [Scenario.parse(values(path, device={"draft_length": length + 1})) for length in range(count)]
    return [Cell(scenario, Kind.SEQUENTIAL, digest_files(scenario, {})) for scenario in scenarios]


def dies_at_two(batch):
    """In a worker: as `run_batch`, but the machine runs out of memory at drafts of two."""
    if any(cell.scenario.device.draft_length == 2 for cell in batch.cells):
        os.kill(os.getpid(), signal.SIGKILL)
    return [Finished(cell.key, {"draft_length": cell.scenario.device.draft_length}) for cell in batch.cells]


def test_processes_bring_what_this_process_would(tmp_path):
    path = written(tmp_path, count=2, tokens=8)
    work = [Batch((cell,)) for cell in cells(path)]
    here = {one.key: one.row | {"wall_s": 0} for finished in Inline().run(work) for one in finished}
    there = {one.key: one.row | {"wall_s": 0} for finished in Processes(2).run(work) for one in finished}
    assert here == there and len(here) == 3


def sleeps(batch):
    """In a worker: never done, but for the first cell."""
    if batch.cells[0].scenario.device.draft_length > 1:
        time.sleep(3600)
    return [Finished(cell.key, {}) for cell in batch.cells]


def test_given_up_processes_end_at_once(tmp_path):
    path = written(tmp_path, count=1, tokens=8)
    others = set(multiprocessing.active_children())  # verifiers that other tests keep
    batches = Processes(2, sleeps).run([Batch((cell,)) for cell in cells(path)])
    assert len(next(batches)) == 1
    batches.close()  # waits for the processes, which would take an hour
    assert not set(multiprocessing.active_children()) - others


def test_a_worker_that_is_killed_takes_only_its_own_cell_with_it(tmp_path):
    path = written(tmp_path, count=1, tokens=8)
    made = cells(path, 4)
    finished = [one for part in Processes(1, dies_at_two).run([Batch(tuple(made[:3])), Batch((made[3],))]) for one in part]
    assert {one.key: one.failure for one in finished} == {
        made[0].key: None, made[1].key: DIED, made[2].key: None, made[3].key: None
    }  # fmt: skip
    assert len(finished) == 4


def test_a_cell_whose_recording_is_gone_fails_by_itself(tmp_path):
    path = written(tmp_path, count=1, tokens=8)
    (cell,) = cells(path, 1)
    gone = Cell(Scenario.parse(values(tmp_path / "gone.z")), Kind.SEQUENTIAL)
    good, bad = run_batch(Batch((cell, gone)))
    assert good.failure is None and bad.row is None and "gone.z" in bad.failure


def test_inputs_are_put_where_a_worker_finds_them_once(tmp_path):
    path = written(tmp_path, count=1, tokens=8)
    (cell,) = cells(path, 1)
    inputs = Inputs.of([cell, cell])
    path.rename(tmp_path / "gone.z")
    places = inputs.unpacked(tmp_path / "there")
    place = places[str(path)]
    assert place.read_bytes() == (tmp_path / "gone.z").read_bytes() and place.name == path.name
    written_at = place.stat().st_mtime_ns
    assert inputs.unpacked(tmp_path / "there") == places and place.stat().st_mtime_ns == written_at
    place.write_bytes(b"damaged")
    assert inputs.unpacked(tmp_path / "there")[str(path)].read_bytes() != b"damaged"
    (finished,) = run_batch(Batch((cell,)), places)
    assert finished.failure is None and finished.key == cell.key and finished.row["recording"] == path.name
