"""What a user may set about a link: a preset or a trace, what to change about it, and the seed of its randomness."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from airdraft.settings import Settings, unknown
from orchestration.link.channel import Conditions
from orchestration.link.presets import PRESETS, Phase
from orchestration.link.window import WindowSettings

Parameters = TypeVar("Parameters", bound=Settings)

DEFAULT_PRESET = "loopback"


class LinkSettings(Settings):
    """A link. Name a preset or a trace file (neither: loopback); the other keys change it.

    With a preset, `round_trip_ms`, `jitter_ms`, the rates and `loss` replace the preset's figures in every phase. With a trace, the
    round trip comes from the trace and cannot be set; the rates come from its SINR unless set. A `channel` varies what it is about (rates,
    loss, outages) by its own `parameters`, and has all else from the preset.
    """

    preset: str | None = None
    trace: Path | None = None
    channel: str | None = Field(None, description="a name from `orchestration.link.channels`; left out: what the preset or trace is")
    parameters: dict[str, Any] = Field(default_factory=dict, description="of the channel; which there are, its file says")
    round_trip_ms: float | None = Field(None, ge=0, le=60_000)
    jitter_ms: float | None = Field(None, ge=0, le=10_000, description="standard deviation of the round trip")
    uplink_mbps: float | None = Field(None, gt=0, le=1e6)
    downlink_mbps: float | None = Field(None, gt=0, le=1e6)
    loss: float | None = Field(None, ge=0, lt=1, description="probability per message and direction; a loss is a delay, never a lost byte")
    bandwidth_mhz: float = Field(20.0, gt=0, le=10_000, description="of a trace's or channel's radio, both ways together")
    uplink_share: float = Field(0.25, gt=0, lt=1, description="of that bandwidth")
    window: WindowSettings | None = Field(None, description="also emulate TCP's congestion window, which collapses when the link idles")
    at_end: Literal["loop", "hold"] = Field("loop", description="after a trace's last row: start again, or keep that row")
    seed: int = Field(0, ge=0, lt=2**64)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(unknown("link preset", self.preset, list(PRESETS)))
        if self.preset is not None and self.trace is not None:
            raise ValueError(f"preset {self.preset!r} and trace {str(self.trace)!r} exclude each other; give one of them.")
        if self.trace is not None and self.channel not in (None, "trace"):
            raise ValueError(f"channel {self.channel!r} and trace {str(self.trace)!r} exclude each other; give one of them.")
        if self.parameters and self.channel is None:
            raise ValueError("parameters belong to a channel; name the channel, or leave them out.")
        if self.trace is not None and self.round_trip_ms is not None:
            raise ValueError("round_trip_ms cannot be set with a trace, which brings its own round trips; leave it out or use a preset.")
        return self

    @property
    def name(self) -> str:
        """How to call this link in a table or a record."""
        if self.trace is not None:
            return self.trace.stem
        return "-".join(part for part in (self.preset, self.channel) if part) or DEFAULT_PRESET

    @property
    def changes_nothing(self) -> bool:
        """Whether it is the network as it is, so that nothing need be emulated."""
        return self.preset in (None, DEFAULT_PRESET) and self == LinkSettings(preset=self.preset, seed=self.seed)

    def channel_name(self) -> str:
        """Which kind of channel this link is: a name in the table of channels."""
        if self.channel is not None:
            return self.channel
        return "trace" if self.trace is not None else PRESETS[self.preset or DEFAULT_PRESET].channel

    def parsed(self, kind: type[Parameters]) -> Parameters:
        """The channel's parameters as its own settings class. Raises SettingsError for an unknown key or an impossible value."""
        return kind.parse(self.parameters, f"parameters of channel {self.channel!r}")

    def phases(self) -> tuple[Phase, ...]:
        """The preset's phases with this link's own figures in place of the preset's."""
        return tuple(Phase(self._overridden(phase.conditions), phase.duration_s) for phase in PRESETS[self.preset or DEFAULT_PRESET].phases)

    def _overridden(self, preset: Conditions) -> Conditions:
        given = {
            "round_trip_s": _scaled(self.round_trip_ms, 1e-3),
            "jitter_s": _scaled(self.jitter_ms, 1e-3),
            "uplink_bps": _scaled(self.uplink_mbps, 1e6),
            "downlink_bps": _scaled(self.downlink_mbps, 1e6),
            "loss": self.loss,
        }
        return dataclasses.replace(preset, **{key: value for key, value in given.items() if value is not None})


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
