"""A link that is gone now and then: a tunnel, a handover that fails, a lift."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
from pydantic import Field

from airdraft.settings import Settings
from orchestration.link.channel import Conditions, LinkState
from orchestration.link.settings import LinkSettings
from orchestration.link.sojourns import Sojourns


class OutageParameters(Settings):
    """How often, and for how long."""

    up_s: float = Field(20.0, gt=0, le=86_400, description="mean time from the end of an outage to the next one")
    outage_s: float = Field(2.0, gt=0, le=3_000, description="mean length of an outage")
    regular: bool = Field(False, description="every time exactly so long; else both are exponentially distributed")

    @property
    def availability(self) -> float:
        """Share of time in which the link is there."""
        return self.up_s / (self.up_s + self.outage_s)


class OutageChannel:
    """Begins without outage; an outage holds both directions."""

    def __init__(self, conditions: Conditions, parameters: OutageParameters, seed: int) -> None:
        clear = conditions.state()
        self._states = [clear, LinkState(replace(clear.up, outage=True), replace(clear.down, outage=True))]
        means = parameters.up_s, parameters.outage_s

        def cycle(random: np.random.Generator) -> tuple[float, float]:
            return means if parameters.regular else (float(random.exponential(means[0])), float(random.exponential(means[1])))

        self._sojourns = Sojourns(cycle, (seed, 4))

    @classmethod
    def from_settings(cls, settings: LinkSettings) -> Self:
        """All else from the link's preset. Raises SettingsError for parameters other than those of OutageParameters."""
        return cls(settings.phases()[0].conditions, settings.parsed(OutageParameters), settings.seed)

    def state(self, at_s: float) -> LinkState:
        """See `Channel.state`."""
        gone, until_s = self._sojourns.at(at_s)
        return replace(self._states[gone], until_s=until_s)
