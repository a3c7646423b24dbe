"""Schedules by name: who works when, one file each."""

from __future__ import annotations

from collections.abc import Callable

from airdraft.errors import SettingsError
from airdraft.settings import unknown
from edge.schedules.sequential import Sequential
from edge.schedules.stream import Stream
from edge.seams import Schedule

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "sequential": Sequential,
    "stream": Stream,
}


def build(name: str) -> Schedule:
    """The schedule of that name. Raises SettingsError when there is none."""
    if name not in SCHEDULES:
        raise SettingsError(unknown("schedule", name, list(SCHEDULES)))
    return SCHEDULES[name]()
