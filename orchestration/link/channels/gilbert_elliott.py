"""A channel that loses messages in bursts: a good and a bad state, each with its own loss (Gilbert 1960, Elliott 1963)."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
from pydantic import Field

from airdraft.settings import Settings
from orchestration.link.channel import Conditions, LinkState
from orchestration.link.settings import LinkSettings
from orchestration.link.sojourns import Sojourns


class GilbertElliottParameters(Settings):
    """A chain that may change state at the end of every slot. The default loses 1 message in 11, in bursts of 4 slots."""

    slot_ms: float = Field(20.0, gt=0, le=60_000)
    good_to_bad: float = Field(0.025, gt=0, le=1, description="probability, per slot")
    bad_to_good: float = Field(0.25, gt=0, le=1, description="probability, per slot: 1 / the mean burst in slots")
    good_loss: float = Field(0.0, ge=0, lt=1, description="probability per message")
    bad_loss: float = Field(1.0, ge=0, le=1, description="probability per message")

    @property
    def stationary_loss(self) -> float:
        """Long-run probability that a message is lost."""
        bad = self.good_to_bad / (self.good_to_bad + self.bad_to_good)
        return bad * self.bad_loss + (1.0 - bad) * self.good_loss


class GilbertElliottChannel:
    """Begins good; both directions share the state. All but the loss is as in `conditions`."""

    def __init__(self, conditions: Conditions, parameters: GilbertElliottParameters, seed: int) -> None:
        self._states = [replace(conditions, loss=loss).state() for loss in (parameters.good_loss, parameters.bad_loss)]
        slot_s, leave_good, leave_bad = parameters.slot_ms / 1e3, parameters.good_to_bad, parameters.bad_to_good

        def cycle(random: np.random.Generator) -> tuple[float, float]:
            return slot_s * int(random.geometric(leave_good)), slot_s * int(random.geometric(leave_bad))

        self._sojourns = Sojourns(cycle, (seed, 3))

    @classmethod
    def from_settings(cls, settings: LinkSettings) -> Self:
        """All but the loss from the link's preset. Raises SettingsError for parameters other than those of GilbertElliottParameters."""
        return cls(settings.phases()[0].conditions, settings.parsed(GilbertElliottParameters), settings.seed)

    def state(self, at_s: float) -> LinkState:
        """See `Channel.state`."""
        bad, until_s = self._sojourns.at(at_s)
        return replace(self._states[bad], until_s=until_s)
