"""The channels by name. A new one is a file here, a line in `CHANNELS`, and its test."""

from __future__ import annotations

from collections.abc import Callable

from airdraft.errors import SettingsError
from airdraft.settings import unknown
from orchestration.link.channel import Channel
from orchestration.link.channels.burst import BurstChannel
from orchestration.link.channels.constant import ConstantChannel
from orchestration.link.channels.gilbert_elliott import GilbertElliottChannel
from orchestration.link.channels.outages import OutageChannel
from orchestration.link.channels.rayleigh import RayleighChannel
from orchestration.link.channels.rician import RicianChannel
from orchestration.link.channels.snr import SnrChannel
from orchestration.link.channels.trace import TraceChannel
from orchestration.link.settings import LinkSettings

CHANNELS: dict[str, Callable[[LinkSettings], Channel]] = {
    "constant": ConstantChannel.from_settings,
    "burst": BurstChannel.from_settings,
    "gilbert-elliott": GilbertElliottChannel.from_settings,
    "outages": OutageChannel.from_settings,
    "rayleigh": RayleighChannel.from_settings,
    "rician": RicianChannel.from_settings,
    "snr": SnrChannel.from_settings,
    "trace": TraceChannel.from_settings,
}


def build(settings: LinkSettings) -> Channel:
    """The channel that these settings describe. Raises SettingsError for unknown names and a trace that cannot be used."""
    name = settings.channel_name()
    if name not in CHANNELS:
        raise SettingsError(unknown("channel", name, list(CHANNELS)))
    return CHANNELS[name](settings)
