"""Drafting against streaming, one set of conditions at a time: the best fixed draft length over the link and the stream beside it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestration.cell import Kind
from orchestration.summary import Row

MAP_AXES = ("link.round_trip_ms", "machines.target_token_ms")
LINK_AXES = ("link", "link.preset", "link.trace")  # which the link's name tells
FILE_SUFFIXES = (".z", ".msgpack", ".toml", ".csv")


class Winner(StrEnum):
    """Who took less time per output token."""

    DRAFTING = "drafting"
    STREAMING = "streaming"
    NEITHER = "neither"  # the two 95 % intervals overlap


@dataclass(frozen=True, slots=True)
class Duel:
    """Both rows of one environment. `where`: its other conditions in words, empty when they are the same in the whole run."""

    stream: Row
    drafting: Row
    where: str

    @property
    def others(self) -> str:
        """Its other conditions but for the link, in words."""
        return conditions(self.stream, (*MAP_AXES, *LINK_AXES))

    @property
    def speed(self) -> float:
        """How many times as fast drafting is: the stream's time per output token over drafting's; below 1 drafting loses."""
        return float(self.stream["tpot_s"] / self.drafting["tpot_s"])

    @property
    def winner(self) -> Winner:
        """By the 95 % intervals of both times."""
        if _high(self.drafting) < _low(self.stream):
            return Winner.DRAFTING
        if _low(self.drafting) > _high(self.stream):
            return Winner.STREAMING
        return Winner.NEITHER

    @property
    def has_a_place_on_a_map(self) -> bool:
        """Whether round trip and target are as they were set: real targets never take the same time twice."""
        return self.round_trip_ms is not None and bool(self.stream["simulated"])

    @property
    def round_trip_ms(self) -> float | None:
        """As set; None for a channel without one."""
        value = self.stream["round_trip_ms"]
        return None if value is None else float(value)

    @property
    def target_token_ms(self) -> float:
        """The target's time per token when it decodes alone."""
        return 1e3 * float(self.stream["target_token_s"])


def duels(rows: Iterable[Row]) -> list[Duel]:
    """Of every environment that has both rows, in the order of the run."""
    by_environment: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["tpot_s"] is not None:
            by_environment[row["environment"]].append(row)
    found = []
    for group in by_environment.values():
        streams = [row for row in group if row["kind"] == Kind.STREAM]
        drafting = [row for row in group if row["kind"] == Kind.SEQUENTIAL and row["best_fixed"]]
        if streams and drafting:
            found.append(Duel(streams[0], drafting[0], conditions(streams[0])))
    return found


def conditions(row: Row, without: Sequence[str] = MAP_AXES) -> str:
    """The grid's values of a row in words, but for the policy's and those of `without`."""
    axes: Mapping[str, Any] = json.loads(row["axes"] or "{}")
    kept = {key: value for key, value in axes.items() if key not in without and not key.startswith("device.")}
    return ", ".join(f"{_key(key)} {_value(value)}".strip() for key, value in kept.items())


def link_name(row: Row) -> str:
    """The link, with its round trip where it has one."""
    trip = row["round_trip_ms"]
    name = Path(str(row["link"])).stem
    return name if trip is None else f"{name} {trip:g} ms"


def plain_name(text: str) -> str:
    """A file's name without its folder and known endings."""
    name = Path(text).name
    for suffix in FILE_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _key(key: str) -> str:
    short = key.rsplit(".", 1)[-1].replace("_", " ")
    return "" if short in ("recording", "machines", "link") else short


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return " / ".join(_value(item) for item in value.values())
    if isinstance(value, list | tuple):
        return "+".join(_value(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else plain_name(str(value))


def _low(row: Row) -> float:
    return float(row["tpot_s"] if row["tpot_s_low"] is None else row["tpot_s_low"])


def _high(row: Row) -> float:
    return float(row["tpot_s"] if row["tpot_s_high"] is None else row["tpot_s_high"])
