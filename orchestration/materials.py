"""Scenarios' materials, each loaded once per process: a recording takes a while to read, and a model longer."""

from __future__ import annotations

from orchestration.material import Material
from orchestration.scenario import Scenario


class Materials:
    """Those loaded so far, by the files and models that they are made of."""

    def __init__(self) -> None:
        self._loaded: dict[str, Material] = {}

    def of(self, scenario: Scenario) -> Material:
        """The scenario's material. Raises SettingsError for a recording or prompt file that cannot be used."""
        key = _key(scenario)
        if key not in self._loaded:
            self._loaded[key] = _load(scenario)
        return self._loaded[key]


def _key(scenario: Scenario) -> str:
    """What the material depends on."""
    recordings, prompts = scenario.workload.recording, scenario.workload.prompts
    if recordings:
        return repr(recordings)
    return repr((prompts, scenario.verifier.model, scenario.verifier.context, scenario.verifier.max_draft))


def _load(scenario: Scenario) -> Material:
    if scenario.replayed:
        from orchestration.replay_material import ReplayMaterial

        return ReplayMaterial.read(scenario.workload.recording)
    from orchestration.model_material import ModelMaterial  # here, since it loads torch

    return ModelMaterial(scenario)
