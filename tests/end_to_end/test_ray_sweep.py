"""Sweeps on Ray: a cluster of the sweep's own, one that is there, and jobs, all with the same summary as without Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.summary import read_rows
from orchestration.sweep.sweep import Where, run_sweep
from tests.made_up_recording import values, written
from tests.ray_cluster import Cluster, cluster

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
PATIENCE_S = 400


def summary(directory):
    return [row | {"wall_s": None, "settings": None} for row in read_rows(Path(directory) / "summary.parquet")]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    grid = {"link.round_trip_ms": [0, 80], "machines.target_token_ms": [30, 90]}
    plain = values(written(folder, count=4, tokens=24), name="trial", grid=grid, sweep={"draft_lengths": [2, 4], "journals": True})
    path = folder / "trial.json"
    path.write_text(json.dumps(plain))
    return path


@pytest.fixture(scope="module")
def expected(sweep, tmp_path_factory):
    """What the sweep gives without Ray."""
    return summary(run_sweep(sweep, tmp_path_factory.mktemp("local"), Where(local=True, workers=1)).directory)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("r") / "r"
    with cluster(folder) as started:
        yield started


def airdraft(environment, *arguments):
    return finished([sys.executable, "-m", "orchestration.cli", *map(str, arguments)], environment)


def finished(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_a_cluster_of_its_own_gives_the_same_summary_and_journals(sweep, expected, tmp_path):
    result = airdraft(os.environ | {"OMP_NUM_THREADS": "1"}, "sweep", sweep, "--runs", tmp_path, "--workers", 2)
    assert result.returncode == 0, result.stderr
    assert summary(tmp_path / "trial") == expected
    assert len(list((tmp_path / "trial" / "journals").iterdir())) == len(expected)


def test_a_cluster_that_is_there_gives_the_same_summary(running: Cluster, sweep, expected, tmp_path):
    result = airdraft(running.environment, "sweep", sweep, "--runs", tmp_path, "--address", running.address)
    assert result.returncode == 0, result.stderr
    assert summary(tmp_path / "trial") == expected


def test_a_submitted_job_shows_its_output_and_brings_the_same_summary_back(running: Cluster, sweep, expected, tmp_path):
    result = airdraft(running.environment, "submit", sweep, "--address", running.dashboard, "--runs", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "succeeded" in result.stdout and f"{len(expected)} cells" in result.stdout
    assert summary(tmp_path / "trial") == expected


def test_the_documented_ray_command_runs_the_same_sweep(running: Cluster, sweep, expected, tmp_path):
    command = ["ray", "job", "submit", "--address", running.dashboard, "--working-dir", str(sweep.parent), "--"]
    entrypoint = ["python", "-m", "orchestration.cli", "sweep", sweep.name, "--address", "auto", "--runs", str(tmp_path)]
    result = subprocess.run(
        [*command, *entrypoint], env=running.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert summary(tmp_path / "trial") == expected


def test_a_job_can_be_cancelled(running: Cluster, sweep, tmp_path):
    long = json.loads(sweep.read_text())
    long |= {"name": "long", "grid": {"seed": list(range(400))}}
    path = sweep.parent / "long.json"
    path.write_text(json.dumps(long))
    submitted = airdraft(running.environment, "submit", path, "--address", running.dashboard, "--no-wait")
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.split()[-1]
    cancelled = airdraft(running.environment, "submit", "--address", running.dashboard, "--cancel", job)
    assert cancelled.returncode == 0 and "stopped" in cancelled.stdout, cancelled.stdout + cancelled.stderr
    fetched = airdraft(running.environment, "submit", "--address", running.dashboard, "--fetch", job, "--runs", tmp_path)
    assert fetched.returncode == 4 and "no results" in fetched.stderr


def test_a_job_that_fails_ends_with_the_commands_exit_code(running: Cluster, sweep, tmp_path):
    command = ["ray", "job", "submit", "--address", running.dashboard, "--working-dir", str(sweep.parent), "--"]
    entrypoint = ["python", "-m", "orchestration.cli", "sweep", "absent.toml", "--address", "auto"]
    result = subprocess.run(
        [*command, *entrypoint], env=running.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert result.returncode != 0 and "absent.toml" in result.stdout + result.stderr


def test_a_wrong_token_is_refused_in_words(running: Cluster, sweep, tmp_path):
    strangers = running.environment | {"RAY_AUTH_TOKEN": "wrong"}
    result = airdraft(strangers, "submit", sweep, "--address", running.dashboard, "--runs", tmp_path)
    assert result.returncode == 4 and "token" in result.stderr.lower()


def test_a_worker_that_dies_takes_only_its_own_cell_with_it(running: Cluster, sweep, tmp_path):
    """In a process of its own, since a process can join one cluster only."""
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    command = [sys.executable, str(script), running.address, json.loads(sweep.read_text())["workload"]["recording"][0]]
    result = finished(command, running.environment | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [None, "died", None, None]


DYING = """
import json, os, signal, sys
from pathlib import Path
from orchestration.cell import Cell, Kind, digest_files
from orchestration.scenario import Scenario
from orchestration.sweep import on_ray
from orchestration.sweep.inputs import Inputs
from orchestration.sweep.work import Batch, Finished
from tests.made_up_recording import values

def dies_at_two(batch, inputs, version):
    if any(cell.scenario.device.draft_length == 2 for cell in batch.cells):
        os.kill(os.getpid(), signal.SIGKILL)
    return [Finished(cell.key, {}) for cell in batch.cells]

scenarios = [Scenario.parse(values(Path(sys.argv[2]), device={"draft_length": length})) for length in (1, 2, 3, 4)]
cells = [Cell(scenario, Kind.SEQUENTIAL, digest_files(scenario, {})) for scenario in scenarios]
on_ray._run_there = dies_at_two
with on_ray.RayTasks(Inputs.of(cells), sys.argv[1]) as tasks:
    found = {one.key: one.failure for part in tasks.run([Batch(tuple(cells[:3])), Batch((cells[3],))]) for one in part}
print(json.dumps([found[cell.key] and "died" for cell in cells]))
"""
