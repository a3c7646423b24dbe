"""The link: channel models, the arithmetic of transit, and a TCP proxy that makes a fast path behave like a channel."""

from orchestration.link.channel import Channel, Conditions, Direction, LegState, LinkState
from orchestration.link.channels import CHANNELS, build
from orchestration.link.presets import PRESETS
from orchestration.link.proxy import Address, ShapingProxy
from orchestration.link.settings import LinkSettings

__all__ = [
    "CHANNELS",
    "PRESETS",
    "Address",
    "Channel",
    "Conditions",
    "Direction",
    "LegState",
    "LinkSettings",
    "LinkState",
    "ShapingProxy",
    "build",
]
