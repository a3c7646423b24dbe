"""A channel that never changes."""

from __future__ import annotations

from typing import Self

from orchestration.link.channel import Conditions, LinkState
from orchestration.link.settings import LinkSettings


class ConstantChannel:
    """The same conditions for ever."""

    def __init__(self, conditions: Conditions) -> None:
        self._state = conditions.state()

    @classmethod
    def from_settings(cls, settings: LinkSettings) -> Self:
        """From a preset's phases and what the settings change about them."""
        return cls(settings.phases()[0].conditions)

    def state(self, at_s: float) -> LinkState:
        """See `Channel.state`."""
        return self._state
