import pytest

from airdraft.errors import SettingsError
from airdraft.messages import RuleChoice
from edge.settings import DeviceSettings


def test_defaults_are_complete():
    settings = DeviceSettings()
    assert settings.schedule == "sequential" and settings.rule_choice == RuleChoice("exact")


def test_unknown_key_is_refused_with_the_nearest_one_at_any_depth():
    with pytest.raises(SettingsError, match="'deadline_s'"):
        DeviceSettings.parse({"fallback": {"deadlines": 1}})
    with pytest.raises(SettingsError, match="'draft_length'"):
        DeviceSettings.parse({"draft_lenght": 4})


def test_bounds_of_the_pauses_must_be_in_order():
    with pytest.raises(SettingsError, match="exceeds back_off_most_s"):
        DeviceSettings.parse({"link": {"back_off_first_s": 2, "back_off_most_s": 1}})


@pytest.mark.parametrize(("then", "patience_s"), [("wait", 50), ("stop", 3), ("alone", 3)])
def test_patience_follows_what_is_to_happen_then(then, patience_s):
    assert DeviceSettings.parse({"fallback": {"then": then, "deadline_s": 3, "give_up_s": 50}}).patience_s == patience_s


def test_rule_parameters_reach_the_contract_in_order():
    settings = DeviceSettings.parse({"rule": "speculative_sampling", "rule_parameters": {"row_width": 8}})
    assert settings.rule_choice == RuleChoice("speculative_sampling", (("row_width", 8.0),))
