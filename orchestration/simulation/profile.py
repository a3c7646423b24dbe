"""What a machine takes for a drafter's step, a verification and a prefill, and where those figures come from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from airdraft.clock import Work
from airdraft.errors import SettingsError
from airdraft.settings import Settings

KINDS = ("draft", "verify", "prefill")


class Residuals(Settings):
    """How far a fit is from the medians that it was made of."""

    points: int = Field(ge=1, description="combinations of tokens and sequences that were measured")
    median_share: float = Field(ge=0, description="median of |fitted - measured| / measured")
    worst_share: float = Field(ge=0, description="largest of the same")


class Cost(Settings):
    """Seconds of one forward: `fixed_s + per_token_s · tokens + per_sequence_s · sequences`, with the source of the figures.

    `tokens` are rounded up to a multiple of `rows_multiple` first: a batch-invariant forward pads its rows, and pays for the padding.

    The source stands beside every figure made from them: measured here, cited from somebody who measured, or assumed.
    """

    source: Literal["measured", "cited", "assumed"]
    text: str = Field(min_length=8, description="where the figures come from, for a reader")
    fixed_s: float = Field(default=0.0, ge=0, le=3600)
    per_token_s: float = Field(default=0.0, ge=0, le=3600, description="of every token fed, in all sequences")
    per_sequence_s: float = Field(default=0.0, ge=0, le=3600)
    rows_multiple: int = Field(default=1, ge=1, le=1024)
    residuals: Residuals | None = Field(default=None, description="when the figures were fitted")

    @model_validator(mode="after")
    def _fitted_when_measured(self) -> Self:
        if self.source == "measured" and self.residuals is None:
            raise ValueError("a measured cost needs its residuals; add them, or say that it is cited or assumed")
        return self

    def seconds(self, tokens: int, sequences: int = 1) -> float:
        """What a forward over so many tokens of so many sequences takes; nothing for no tokens."""
        if tokens == 0:
            return 0.0
        rows = -(-tokens // self.rows_multiple) * self.rows_multiple
        return self.fixed_s + self.per_token_s * rows + self.per_sequence_s * sequences


class MachineProfile(Settings):
    """One machine with its model. A device needs `draft`, a verifier `verify` and `prefill`."""

    name: str = Field(min_length=1)
    machine: str = Field(default="", description="what it is")
    model: str = Field(default="", description="what runs on it")
    versions: dict[str, str] = Field(default_factory=dict, description="of the software that was measured")
    draft: Cost | None = None
    verify: Cost | None = None
    prefill: Cost | None = None

    def seconds(self, work: Work) -> float:
        """What a piece of work takes here. Raises SettingsError when the profile has no figures for its kind."""
        return self.cost(work.kind).seconds(work.tokens, work.sequences)

    def cost(self, kind: str) -> Cost:
        """The figures for one kind of work. Raises SettingsError when there are none."""
        cost: Cost | None = getattr(self, kind) if kind in KINDS else None
        if cost is None:
            known = ", ".join(kind for kind in KINDS if getattr(self, kind) is not None) or "none"
            raise SettingsError(
                f"the machine profile {self.name!r} has no figures for {kind!r} (it has: {known}). Add a [{kind}] table, or use another."
            )
        return cost

    def sources(self) -> dict[str, str]:
        """By kind of work: measured, cited or assumed. For the record of a run."""
        return {kind: cost.source for kind in KINDS if (cost := getattr(self, kind)) is not None}

    def write(self, path: Path) -> None:
        """As a TOML file that `read` reads. Raises SettingsError when it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(as_toml(self.model_dump(exclude_none=True)), encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{path}: {error}. Choose a file that can be written.") from error


def as_toml(values: dict[str, Any], table: str = "") -> str:
    """Nested dicts of strings, numbers and truth values as TOML."""
    plain = [f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if not isinstance(value, dict)]
    lines = [f"[{table}]", *plain] if table and plain else plain
    parts = ["\n".join(lines)] if lines else []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            parts.append(as_toml(value, f"{table}.{_key(key)}" if table else _key(key)).rstrip("\n"))
    return "\n\n".join(parts) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
