"""Machines of a scenario: profiles from files, and assumed ones from figures."""

import pytest

from airdraft.clock import Work
from airdraft.errors import SettingsError
from orchestration.machines import MachinesSettings

PROFILE = """
name = "phone"
[draft]
source = "cited"
text = "somebody's phone"
fixed_s = 0.02
"""


def test_an_assumed_machine_takes_the_figure_for_one_token_and_a_share_of_it_for_each_further_one():
    machines = MachinesSettings.parse({"draft_step_ms": 10, "target_token_ms": 100, "row_share": 0.05})
    device, verifier = machines.device_profile(), machines.verifier_profile()
    assert device.seconds(Work("draft", 1)) == pytest.approx(0.010)
    assert device.seconds(Work("draft", 3)) == pytest.approx(0.011)
    assert verifier.seconds(Work("verify", 1)) == pytest.approx(0.100)
    assert verifier.seconds(Work("prefill", 21)) == pytest.approx(0.200)
    assert set(verifier.sources().values()) == {"assumed"}


def test_a_profile_is_read_from_its_file_with_its_source(tmp_path):
    path = tmp_path / "phone.toml"
    path.write_text(PROFILE)
    profile = MachinesSettings.parse({"device": path}).device_profile()
    assert (profile.name, profile.sources()) == ("phone", {"draft": "cited"})


def test_a_machine_that_lacks_what_it_is_for_is_refused(tmp_path):
    path = tmp_path / "phone.toml"
    path.write_text(PROFILE)
    with pytest.raises(SettingsError, match="no figures for 'verify'"):
        MachinesSettings.parse({"verifier": path}).verifier_profile()
    with pytest.raises(SettingsError, match=r"machines.device or machines.draft_step_ms"):
        MachinesSettings().device_profile()
    with pytest.raises(SettingsError, match=r"machines.verifier or machines.target_token_ms"):
        MachinesSettings().verifier_profile()
