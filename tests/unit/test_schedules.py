import pytest

from airdraft.errors import SettingsError
from edge.schedules import SCHEDULES, build


def test_every_schedule_of_the_table_can_be_built():
    assert {type(build(name)).__name__.lower() for name in SCHEDULES} == set(SCHEDULES) == {"sequential", "stream"}


def test_unknown_schedule_is_refused_with_the_nearest_name():
    with pytest.raises(SettingsError, match="Did you mean 'sequential'"):
        build("sequental")
