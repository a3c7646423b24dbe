"""A file of prompts as what devices are asked, when real models answer: an implementation of `Questions`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from airdraft.messages import Contract, Description
from edge.settings import DeviceSettings
from orchestration.assembly import Language, build_contract
from orchestration.material import Overlap
from orchestration.recording.prompts import PromptSet, read_prompts
from orchestration.workload import Prompt


@dataclass(frozen=True)
class PromptFile:
    """The prompts of `file` in a language, put to a verifier that says of itself what `served` says."""

    file: Path
    language: Language
    served: Description

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of the prompts and the tokenizer."""
        return {"prompts": self._set.sha256, "tokenizer": self.language.digest.hex()}

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """Each as a user's turn."""
        return tuple(Prompt(one.name, one.task, self.language.prompt(one.text)) for one in self._set.prompts)

    def contract(self, prompt: int, device: DeviceSettings) -> Contract:
        """As the device's own command would make it."""
        return build_contract(self.prompts[prompt].tokens, device, self.language, self.served)

    def overlaps(self, chosen: tuple[int, ...], device: DeviceSettings) -> tuple[Overlap, ...]:
        """Only running both models can tell."""
        return ()

    @cached_property
    def _set(self) -> PromptSet:
        return read_prompts(self.file)
