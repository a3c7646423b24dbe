"""Which machines a scenario runs on: profiles by name or file, or figures given in the scenario itself, which are then assumed ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from airdraft.errors import SettingsError
from airdraft.settings import Settings
from orchestration.simulation.profile import Cost, MachineProfile

ROW_SHARE = 0.02
ASSUMED = "given in the scenario: one token takes {token_ms:g} ms, every further one {share:g} of that"


class MachinesSettings(Settings):
    """A device and a verifier. `draft_step_ms` and `target_token_ms` stand in place of a profile, as assumed machines."""

    device: Path | None = Field(None, description="the device's profile: a TOML file as `airdraft profile` writes them")
    verifier: Path | None = Field(None, description="the verifier's profile")
    draft_step_ms: float | None = Field(None, gt=0, le=60_000, description="an assumed device: one step of the drafter")
    target_token_ms: float | None = Field(None, gt=0, le=60_000, description="an assumed verifier: the target's forward over one token")
    row_share: float = Field(
        ROW_SHARE, ge=0, le=1, description="of an assumed machine: what each further token of a forward costs, in shares of the first"
    )

    @model_validator(mode="after")
    def _one_source_each(self) -> Self:
        for profile, figure in (("device", "draft_step_ms"), ("verifier", "target_token_ms")):
            if getattr(self, profile) is not None and getattr(self, figure) is not None:
                raise ValueError(f"{profile} and {figure} exclude each other; give a profile or a figure")
        return self

    def device_profile(self) -> MachineProfile:
        """Raises SettingsError when neither profile nor figure is given, the file cannot be used, or it has no figures for drafting."""
        profile = self._profile(self.device, self.draft_step_ms, ("draft",), "device or machines.draft_step_ms")
        profile.cost("draft")
        return profile

    def verifier_profile(self) -> MachineProfile:
        """Raises SettingsError likewise, or when figures for verifying or prefilling are missing."""
        profile = self._profile(self.verifier, self.target_token_ms, ("verify", "prefill"), "verifier or machines.target_token_ms")
        profile.cost("verify"), profile.cost("prefill")
        return profile

    def _profile(self, path: Path | None, token_ms: float | None, kinds: tuple[str, ...], keys: str) -> MachineProfile:
        if path is not None:
            return MachineProfile.read(path)
        if token_ms is None:
            raise SettingsError(f"no machine: set machines.{keys}.")
        cost = self._assumed(token_ms)
        costs: dict[str, Any] = {kind: cost for kind in kinds}
        return MachineProfile(name=f"assumed-{token_ms:g}ms", machine="assumed", **costs)

    def _assumed(self, token_ms: float) -> Cost:
        token_s = token_ms / 1e3
        text = ASSUMED.format(token_ms=token_ms, share=self.row_share)
        return Cost(source="assumed", text=text, fixed_s=token_s * (1 - self.row_share), per_token_s=token_s * self.row_share)
