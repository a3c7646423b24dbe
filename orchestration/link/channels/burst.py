"""A channel of two phases that alternate for ever, such as good coverage and a passing shadow."""

from __future__ import annotations

import math
from typing import Self

from orchestration.link.channel import LinkState
from orchestration.link.presets import Phase
from orchestration.link.settings import LinkSettings


class BurstChannel:
    """`first` for its duration, then `second` for its duration, and so on."""

    def __init__(self, first: Phase, second: Phase) -> None:
        self._first, self._second = first, second
        self._period_s = first.duration_s + second.duration_s

    @classmethod
    def from_settings(cls, settings: LinkSettings) -> Self:
        """From a preset's phases and what the settings change about them."""
        first, second = settings.phases()
        return cls(first, second)

    def state(self, at_s: float) -> LinkState:
        """See `Channel.state`."""
        start_s = self._period_s * math.floor(max(at_s, 0.0) / self._period_s)
        change_s = start_s + self._first.duration_s
        if at_s < change_s:
            return self._first.conditions.state(until_s=change_s)
        return self._second.conditions.state(until_s=start_s + self._period_s)
