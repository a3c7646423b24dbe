import pytest

from airdraft.errors import SettingsError
from airdraft.messages import ChannelState
from edge.seams import DraftStep
from edge.settings import DeviceSettings
from edge.stopping import STOPPING_RULES, build

STEPS = [DraftStep(7, position) for position in range(10)]


@pytest.mark.parametrize("length", [0, 1, 4])
def test_fixed_drafts_have_one_length(length):
    rule = build(DeviceSettings(draft_length=length))
    assert [rule.go_on(STEPS[:count], ChannelState()) for count in range(6)] == [count < length for count in range(6)]


def test_fixed_learns_nothing():
    rule = build(DeviceSettings(draft_length=2))
    rule.learn(STEPS[:2], 0)
    assert rule.go_on(STEPS[:1], ChannelState()) and not rule.go_on(STEPS[:2], ChannelState())


def test_every_rule_of_the_table_can_be_built():
    assert all(build(DeviceSettings(stopping=name)) for name in STOPPING_RULES)


def test_unknown_rule_is_refused_with_the_nearest_name():
    with pytest.raises(SettingsError, match="Did you mean 'fixed'"):
        build(DeviceSettings(stopping="fixd"))
