"""Recordings as a scenario's material: what the models said, without the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from airdraft.errors import SettingsError
from airdraft.messages import Contract
from cloud.settings import VerifierSettings
from edge import drafters
from edge.seams import Drafter
from edge.settings import DeviceSettings
from orchestration.material import Overlap
from orchestration.recording.entry import Entry
from orchestration.recording.recording import Recording, read_recording
from orchestration.recording.replay import RecordedDrafter, RecordedTarget, Repertoire
from orchestration.scenario import RECORDED
from orchestration.simulation.verifier import Served
from orchestration.workload import Prompt


@dataclass(frozen=True)
class ReplayMaterial:
    """One recording, or several of the same models and settings."""

    recordings: tuple[Recording, ...]

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Self:
        """From files. Raises SettingsError when one is none, or they do not belong together."""
        material = cls(tuple(read_recording(path) for path in paths))
        material._repertoire  # noqa: B018  # built now, so that recordings which differ are refused now
        return material

    @property
    def name(self) -> str:
        """The target's."""
        return self._repertoire.header.target.name

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of each recording, by its prompts' name."""
        return {recording.header.prompts.name: recording.digest for recording in self.recordings}

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """In the order of the recordings."""
        return tuple(Prompt(entry.name, entry.task, entry.prompt) for entry, _ in self._entries)

    @property
    def longest_draft(self) -> int:
        """Drafts of up to so many tokens were recorded from every position."""
        return self._repertoire.header.draft_length

    def check(self, device: DeviceSettings, verifier: VerifierSettings, chosen: tuple[int, ...]) -> None:
        """Raises SettingsError for drafts, responses or a sampling beyond what was recorded, and prompts that the context cannot hold."""
        header = self._repertoire.header
        if device.drafter.kind == RECORDED:
            self._check_draft_length(device, verifier)
        if "sampling" in device.model_fields_set:
            self._repertoire.check(device.sampling)
        longest = max((self.prompts[number] for number in chosen), key=lambda prompt: len(prompt.tokens))
        needed = len(longest.tokens) + self.max_new_tokens(device)
        if needed > verifier.context:
            raise SettingsError(
                f"prompt {longest.name!r} and its response need a context of {needed}; verifier.context is {verifier.context}."
            )
        if self.max_new_tokens(device) > header.max_new_tokens:
            raise SettingsError(
                f"device.max_new_tokens is {device.max_new_tokens}, but the recorded responses have up to {header.max_new_tokens}. "
                "Ask for no more, or leave it out."
            )

    def _check_draft_length(self, device: DeviceSettings, verifier: VerifierSettings) -> None:
        fixed = device.stopping == "fixed"
        length = device.draft_length if fixed else verifier.max_draft
        if length > self.longest_draft and device.schedule != "stream":
            key = "device.draft_length" if fixed else "verifier.max_draft"
            raise SettingsError(f"{key} is {length}, but drafts of {self.longest_draft} tokens were recorded. Lower it to that.")

    def max_new_tokens(self, device: DeviceSettings) -> int:
        """As set; left out, as recorded."""
        return device.max_new_tokens if "max_new_tokens" in device.model_fields_set else self._repertoire.header.max_new_tokens

    def served(self, verifier: VerifierSettings) -> Served:
        """A target of its own over the shared repertoire."""
        target = RecordedTarget(self._repertoire, verifier.slots, verifier.context)
        return Served(target, self.name, self._repertoire.header.tokenizer_digest)

    def drafter(self, device: DeviceSettings) -> Drafter:
        """The recorded one, or one that needs no model."""
        return RecordedDrafter(self._repertoire) if device.drafter.kind == RECORDED else drafters.build(device.drafter)

    def contract(self, prompt: int, device: DeviceSettings) -> Contract:
        """Under the recorded sampling."""
        entry, recording = self._entries[prompt]
        return recording.contract(entry, self.max_new_tokens(device), device.rule_choice)

    def expected(self, prompt: int, device: DeviceSettings) -> tuple[int, ...]:
        """What was recorded, as far as it is asked for."""
        return self._entries[prompt][0].response[: self.max_new_tokens(device)]

    def overlaps(self, chosen: tuple[int, ...], device: DeviceSettings) -> tuple[Overlap, ...]:
        """Of the recorded responses, as far as they are asked for."""
        return tuple(_overlap(self._entries[number][0], self.max_new_tokens(device)) for number in chosen)

    @cached_property
    def _repertoire(self) -> Repertoire:
        return Repertoire(self.recordings)

    @cached_property
    def _entries(self) -> tuple[tuple[Entry, Recording], ...]:
        return tuple((entry, recording) for recording in self.recordings for entry in recording.entries)


def _overlap(entry: Entry, longest: int) -> Overlap:
    tokens = min(len(entry.response), longest)
    return Overlap(tokens, 1 - sum(row < tokens for row in entry.misses) / tokens)
