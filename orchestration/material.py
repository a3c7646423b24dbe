"""What a scenario's models are: the seam behind which recordings or real models answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from airdraft.messages import Contract
from cloud.settings import VerifierSettings
from edge.seams import Drafter
from edge.settings import DeviceSettings
from orchestration.simulation.verifier import Served
from orchestration.workload import Prompt


@dataclass(frozen=True, slots=True)
class Overlap:
    """One response's length, and the share of its positions where the drafter, on the target's text, proposes the target's token."""

    tokens: int
    share: float


class Questions(Protocol):
    """What is asked, and on what terms. Prompts are named by their number in `prompts`."""

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 (hexadecimal) of what answers, by role."""
        ...

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All of them; a scenario chooses some."""
        ...

    def contract(self, prompt: int, device: DeviceSettings) -> Contract:
        """The contract under which this prompt is answered."""
        ...

    def overlaps(self, chosen: tuple[int, ...], device: DeviceSettings) -> tuple[Overlap, ...]:
        """Of each of these responses: how long it is, and how often the drafter would agree; empty when not known beforehand."""
        ...


class Material(Questions, Protocol):
    """A target and a drafter, and the prompts that they answer."""

    @property
    def name(self) -> str:
        """What to call it in a table."""
        ...

    @property
    def longest_draft(self) -> int:
        """Tokens of a draft that it can answer from every position."""
        ...

    def check(self, device: DeviceSettings, verifier: VerifierSettings, chosen: tuple[int, ...]) -> None:
        """Raises SettingsError for what it cannot answer."""
        ...

    def served(self, verifier: VerifierSettings) -> Served:
        """What one verifier serves: a target with a cache of its own."""
        ...

    def drafter(self, device: DeviceSettings) -> Drafter:
        """A drafter for one device."""
        ...

    def expected(self, prompt: int, device: DeviceSettings) -> tuple[int, ...] | None:
        """The response that the exact rule must bring; None when only running the target can tell."""
        ...
