"""One cell of a sweep: a scenario, what it is in the comparison, and the digest by which a finished one is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from airdraft import __version__
from airdraft.errors import SettingsError
from orchestration import baselines
from orchestration.scenario import RECORDED, Scenario, files

DIGEST_CHARACTERS = 20
POLICY_KEYS = ("drafter", "stopping", "draft_length", "schedule", "rule", "rule_parameters")
UNIMPORTANT = {"name", "grid", "sweep"}  # what a cell's result does not depend on


class Kind(StrEnum):
    """What a row of a comparison is."""

    STREAM = "stream"
    DEVICE = "device"
    SEQUENTIAL = "sequential"  # exact rule and drafts of one length by the recorded drafter or the model
    LOCAL = "local"
    POLICY = "policy"  # anything else


@dataclass(frozen=True)
class Cell:
    """`axes`: the grid's keys and this cell's values. `file_digests`: SHA-256 of the files that the scenario names.

    `place`: digest of the cluster that it is measured on; empty: simulated, which is the same everywhere.
    """

    scenario: Scenario
    kind: Kind
    file_digests: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    @cached_property
    def key(self) -> str:
        """Digest of everything that the result depends on. Where the files lie does not matter."""
        place = {"place": self.place} if self.place else {}
        return digest({"kind": self.kind, "version": __version__, "settings": self._settings(self.scenario), **place})

    @cached_property
    def environment(self) -> str:
        """Digest of all but the policy."""
        return digest(_without_policy(self._settings(self.scenario)))

    @cached_property
    def linkless(self) -> str:
        """Digest of all but policy and link."""
        values = _without_policy(self._settings(baselines.unlinked(self.scenario)))
        return digest(values)

    @property
    def policy(self) -> str:
        """In words, for a legend."""
        device, length = self.scenario.device, self.scenario.fixed_draft_length
        if self.kind in (Kind.STREAM, Kind.DEVICE):
            return str(self.kind)
        if self.kind is not Kind.POLICY:
            return f"{self.kind} k={length}"
        drafter = "" if device.drafter.kind in (RECORDED, "model") else f" {device.drafter.kind}"
        stopping = f" k={length}" if length is not None else f" {device.stopping}"
        rule = "" if device.rule == "exact" else f" {device.rule}"
        return device.schedule + drafter + (stopping if device.schedule != "stream" else "") + rule

    def _settings(self, scenario: Scenario) -> dict[str, Any]:
        values = scenario.model_dump(mode="json", exclude=UNIMPORTANT)
        named: dict[str, Any] = renamed(values, self.file_digests)
        return named


def kind_of(scenario: Scenario) -> Kind:
    """What a scenario of the grid is in the comparison."""
    device = scenario.device
    if device.schedule == "stream":
        return Kind.STREAM
    plain = device.schedule == "sequential" and device.rule == "exact" and device.drafter.kind in (RECORDED, "model")
    return Kind.SEQUENTIAL if plain and scenario.fixed_draft_length is not None else Kind.POLICY


def canonical(scenario: Scenario) -> Scenario:
    """Without what makes no difference: a stream's drafter and draft length."""
    return baselines.stream(scenario) if kind_of(scenario) is Kind.STREAM else scenario


def digest_files(scenario: Scenario, known: dict[str, str]) -> dict[str, str]:
    """SHA-256 (hexadecimal) of the scenario's files by path; `known` is added to. Raises SettingsError for one that cannot be read."""
    for path in files(scenario):
        if str(path) not in known:
            try:
                known[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise SettingsError(f"{path}: {error}. Correct the path in the scenario.") from error
    return {str(path): known[str(path)] for path in files(scenario)}


def moved(scenario: Scenario, places: Mapping[str, Path]) -> Scenario:
    """The scenario with its files elsewhere: on another machine they lie where `places` says."""
    named = {path: str(place) for path, place in places.items()}
    return Scenario.parse(renamed(scenario.model_dump(mode="json", exclude_unset=True), named))


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Plain values in which every string that `names` knows is replaced."""
    if isinstance(value, dict):
        return {key: renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _without_policy(values: dict[str, Any]) -> dict[str, Any]:
    device = {key: item for key, item in values["device"].items() if key not in POLICY_KEYS}
    return {**values, "device": device}


def digest(values: Any) -> str:
    """Of plain values: the same for the same ones, whatever their order."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]
