"""The channels by name. A new one is a file here, a line in `CHANNELS`, and its test."""

from __future__ import annotations

from collections.abc import Callable

from orchestration.link.channel import Channel
from orchestration.link.channels.burst import BurstChannel
from orchestration.link.channels.constant import ConstantChannel
from orchestration.link.channels.trace import TraceChannel
from orchestration.link.settings import LinkSettings

CHANNELS: dict[str, Callable[[LinkSettings], Channel]] = {
    "constant": ConstantChannel.from_settings,
    "burst": BurstChannel.from_settings,
    "trace": TraceChannel.from_settings,
}


def build(settings: LinkSettings) -> Channel:
    """The channel that these settings describe. Raises SettingsError when a trace cannot be read or used."""
    return CHANNELS[settings.channel_name()](settings)
