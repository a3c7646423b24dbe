"""Real models as a scenario's material: the target and the drafter compute, on a virtual clock that charges what the profiles say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airdraft import PROTOCOL_VERSION, __version__, models
from airdraft.errors import SettingsError
from airdraft.messages import Contract, Description, Load
from airdraft.packed_linear import pack_linears
from airdraft.settings import ModelSettings
from cloud import acceptance
from cloud.settings import VerifierSettings
from cloud.target import TransformersTarget
from edge import drafters
from edge.seams import Drafter
from edge.settings import DeviceSettings
from orchestration.assembly import Language, load_language, load_model
from orchestration.material import Overlap
from orchestration.prompt_file import PromptFile
from orchestration.scenario import Scenario
from orchestration.simulation.verifier import Served
from orchestration.workload import Prompt

NO_LIMIT = 1024


@dataclass(frozen=True)
class ModelMaterial:
    """Models are loaded when they are first needed, once for all verifiers and devices; each has a cache of its own."""

    scenario: Scenario
    longest_draft: int = NO_LIMIT

    @property
    def name(self) -> str:
        """The target's."""
        return self._target_settings.model

    @property
    def digests(self) -> dict[str, str]:
        """Of the prompts and the tokenizer; weights are known by their names."""
        return self._asked.digests

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Of the prompt file, each as a user's turn."""
        return self._asked.prompts

    def check(self, device: DeviceSettings, verifier: VerifierSettings, chosen: tuple[int, ...]) -> None:
        """Raises SettingsError when a prompt does not fit into the verifier's context, ModelError when a model cannot be had."""
        for number in chosen:
            if len(self.prompts[number].tokens) >= verifier.context:
                raise SettingsError(
                    f"prompt {self.prompts[number].name!r} has {len(self.prompts[number].tokens)} tokens, and verifier.context is "
                    f"{verifier.context}. Raise it."
                )

    def served(self, verifier: VerifierSettings) -> Served:
        """A cache over the shared target."""
        _, model = self._target
        return Served(TransformersTarget(model, verifier.slots, verifier.context), self.name, self._language.digest)

    def drafter(self, device: DeviceSettings) -> Drafter:
        """A context over the shared drafter, or one that needs no model."""
        model = self._drafter_model(device.drafter.model) if device.drafter.kind == "model" else None
        return drafters.build(device.drafter, model)

    def contract(self, prompt: int, device: DeviceSettings) -> Contract:
        """As a device's own command would make it."""
        return self._asked.contract(prompt, device)

    def expected(self, prompt: int, device: DeviceSettings) -> None:
        """Only the target can tell."""

    def overlaps(self, chosen: tuple[int, ...], device: DeviceSettings) -> tuple[Overlap, ...]:
        """Only running both can tell."""
        return self._asked.overlaps(chosen, device)

    @property
    def _target_settings(self) -> ModelSettings:
        if self.scenario.verifier.model is None:
            raise SettingsError("workload.prompts needs a target: set verifier.model.model.")
        return self.scenario.verifier.model

    @cached_property
    def _asked(self) -> PromptFile:
        if self.scenario.workload.prompts is None:
            raise SettingsError("no prompts for real models: set workload.prompts.")
        return PromptFile(self.scenario.workload.prompts, self._language, self._description)

    @cached_property
    def _language(self) -> Language:
        return load_language(models.ensure(self._target_settings.model))

    @cached_property
    def _target(self) -> Any:
        return load_model(self._target_settings)

    @cached_property
    def _loaded_drafters(self) -> dict[str, Any]:
        return {}

    def _drafter_model(self, settings: ModelSettings | None) -> Any:
        if settings is None:
            raise SettingsError("device.drafter.kind 'model' needs a model: set device.drafter.model.model.")
        key = settings.model_dump_json()
        if key not in self._loaded_drafters:
            _, model = load_model(settings)
            pack_linears(model)
            self._loaded_drafters[key] = model
        return self._loaded_drafters[key]

    @cached_property
    def _description(self) -> Description:
        """What a verifier of this target says of itself."""
        vocabulary_size = models.vocabulary_size(models.ensure(self._target_settings.model))
        return Description(
            protocol_version=PROTOCOL_VERSION,
            software_version=__version__,
            model=self.name,
            tokenizer_digest=self._language.digest,
            vocabulary_size=vocabulary_size,
            rules=acceptance.names(),
            context_limit=self.scenario.verifier.context,
            draft_limit=self.scenario.verifier.max_draft,
            load=Load(0, self.scenario.verifier.sessions, 0, False),
        )
