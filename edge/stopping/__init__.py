"""Stopping rules by name: when a draft is long enough, one file each."""

from __future__ import annotations

from collections.abc import Callable

from airdraft.errors import SettingsError
from airdraft.settings import unknown
from edge.seams import StoppingRule
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed

STOPPING_RULES: dict[str, Callable[[DeviceSettings], StoppingRule]] = {
    "fixed": lambda settings: Fixed(settings.draft_length),
}


def build(settings: DeviceSettings) -> StoppingRule:
    """The stopping rule that the settings name. Raises SettingsError when there is none of that name."""
    if settings.stopping not in STOPPING_RULES:
        raise SettingsError(unknown("stopping rule", settings.stopping, list(STOPPING_RULES)))
    return STOPPING_RULES[settings.stopping](settings)
