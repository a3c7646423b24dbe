"""The commands simulate, sweep and submit, as a user gives them."""

import json
import re

import pytest
from typer.testing import CliRunner

from airdraft.errors import SettingsError
from orchestration.cli.application import application
from orchestration.cli.simulate import parse_change
from orchestration.cli.sweep import Lines
from orchestration.sweep.work import Finished
from tests.made_up_recording import values, written


@pytest.fixture
def run():
    runner = CliRunner()

    def invoke(*arguments):
        result = runner.invoke(application, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def file(tmp_path):
    recording = written(tmp_path, count=3, tokens=12)

    def write(**changes):
        path = tmp_path / "trial.json"
        path.write_text(json.dumps(values(recording) | changes))
        return path

    return write


GRID = {"grid": {"link.round_trip_ms": [0, 80]}, "sweep": {"draft_lengths": [1, 2]}, "device": {"draft_length": 2}}


def test_simulate_prints_the_figures_with_their_intervals(run, file):
    result = run("simulate", file())
    assert result.exit_code == 0
    assert "sequential k=4 over 5g, simulated" in result.stdout and "assumed" in result.stdout
    assert re.search(r"time per output token +\d+\.\d+ +\d+\.\d+ … \d+\.\d+ +ms", result.stdout)
    assert "cost model" in result.stdout and "fairness" not in result.stdout


def test_simulate_takes_changed_settings_and_prints_json(run, file, tmp_path):
    result = run("simulate", file(), "--set", "link.preset=lte", "--set", "device.draft_length=2", "--json", "--journal", tmp_path / "j")
    row = json.loads(result.stdout)
    assert (row["link"], row["draft_length"]) == ("lte", 2) and (tmp_path / "j").stat().st_size > 1000


def test_simulate_says_when_responses_failed(run, file):
    path = file(link={"round_trip_ms": 300, "jitter_ms": 0}, device={"fallback": {"then": "stop", "deadline_s": 0.2}})
    result = run("simulate", path)
    assert result.exit_code == 1 and "3 responses failed: unavailable.link_lost" in result.stderr


def test_simulate_refuses_a_grid(run, file):
    with pytest.raises(SettingsError, match="airdraft sweep"):
        run("simulate", file(**GRID))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("link.preset=lte", ("link.preset", "lte")),
        ("seed = 3", ("seed", 3)),
        ("a.b=[1, 2]", ("a.b", [1, 2])),
        ("a=x=y", ("a", "x=y")),
        ("a='5'", ("a", "5")),
    ],
)
def test_a_change_is_read_as_toml_or_else_as_text(text, expected):
    assert parse_change(text) == expected


def test_a_change_without_a_value_is_refused():
    with pytest.raises(SettingsError, match="KEY=VALUE"):
        parse_change("link.preset")


def test_sweep_says_how_far_it_is_and_how_the_cost_model_did(run, file, tmp_path):
    path = file(**GRID)
    assert "9 cells, all possible" in run("sweep", path, "--check").stderr
    first = run("sweep", path, "--local", "--workers", "1", "--runs", tmp_path / "runs")
    assert first.exit_code == 0 and "9 cells to run" in first.stderr and "9 cells run, 0 had been run before, 0 failed" in first.stderr
    assert "of 2 sets of conditions" in first.stderr
    assert "0 cells run, 9 had been run before" in run("sweep", path, "--local", "--workers", "1", "--runs", tmp_path / "runs").stderr


def test_sweep_lists_failures_and_ends_with_one(run, file, tmp_path, monkeypatch):
    from orchestration.sweep import work

    def failing(prepared, **options):
        raise RuntimeError("planted")

    monkeypatch.setattr(work, "run_cell", failing)
    result = run("sweep", file(**GRID), "--local", "--workers", "1", "--runs", tmp_path / "runs")
    assert result.exit_code == 1 and "9 failed" in result.stderr and result.stderr.count("planted") == 9


def test_sweep_refuses_ray_and_no_ray_together(run, file):
    with pytest.raises(SettingsError, match="--local"):
        run("sweep", file(), "--local", "--address", "auto")


def test_lines_estimate_the_time_left(monkeypatch, capsys):
    from rich.console import Console

    now = iter([100.0, 105.0, 120.0])
    monkeypatch.setattr("orchestration.cli.sweep.time.monotonic", lambda: next(now))
    lines = Lines(Console(highlight=False, width=200))
    monkeypatch.setattr("orchestration.cli.sweep.time.monotonic", iter([100.0, 105.0, 120.0]).__next__)
    lines.started(40, 2)
    lines.advanced([Finished("a", {})] * 4)  # too soon to say anything
    lines.advanced([Finished("b", failure="no")] * 4)
    assert capsys.readouterr().out.splitlines() == ["40 cells to run, 2 had been run before", "8 of 40 cells, 4 failed, about 80 s left"]


@pytest.mark.parametrize("arguments", [[], ["x.toml", "--cancel", "job"], ["--cancel", "a", "--fetch", "b"]])
def test_submit_wants_exactly_one_thing_to_do(run, arguments):
    with pytest.raises(SettingsError, match="give one of"):
        run("submit", *arguments)


def test_submit_names_a_file_that_is_missing(run, tmp_path):
    with pytest.raises(SettingsError, match="absent"):
        run("submit", tmp_path / "absent.toml")


def test_a_terminal_shows_a_bar_with_the_time_left():
    import io

    from rich.console import Console

    from orchestration.cli.sweep import watched

    screen = io.StringIO()
    with watched(Console(file=screen, force_terminal=True, width=120)) as progress:
        progress.started(40, 2)
        progress.advanced([Finished("a", {}), Finished("b", failure="no")])
    assert "cells (1 failed)" in screen.getvalue() and re.search(r"2/40", screen.getvalue())
