"""`airdraft profile` and what `airdraft crosscheck` prints."""

from pathlib import Path

import typer
from typer.testing import CliRunner

from airdraft.errors import SettingsError
from orchestration.cli.crosscheck import figures
from orchestration.cli.profile import profile
from orchestration.simulation.crosscheck import Comparison, Outcome
from orchestration.simulation.profile import MachineProfile
from tests.simulated_worlds import SERVER

APPLICATION = typer.Typer()
APPLICATION.command()(profile)


def test_a_device_without_a_model_is_measured_and_its_profile_written(tmp_path: Path) -> None:
    path = tmp_path / "here.toml"
    result = CliRunner().invoke(APPLICATION, ["--drafter", "lookup", "--repetitions", "2", "--name", "pocket", "--out", str(path)])
    assert result.exit_code == 0, result.output
    found = MachineProfile.read(path)
    assert found.name == "pocket" and found.sources() == {"draft": "measured"} and found.model == "lookup"
    assert found.draft is not None and 0 <= found.draft.seconds(1) < 1 and "median of 2" in found.draft.text
    assert "python" in found.versions and "draft" in result.output


def test_nothing_to_measure_is_refused_in_words() -> None:
    result = CliRunner().invoke(APPLICATION, [])
    assert isinstance(result.exception, SettingsError) and "--model" in result.exception.message


def test_a_comparison_as_figures_is_in_milliseconds() -> None:
    made = figures(Comparison("lte", Outcome(0.11, 9, 40, 0.05), Outcome(0.10, 9, 40, 0.04), SERVER, 0.001))
    assert made["simulated_ms"] == 110.0 and made["agrees"] is True and made["forward_real_ms"] == 40.0 and made["handling_ms"] == 1.0
