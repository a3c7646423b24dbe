"""What a user may set: frozen pydantic models that refuse an unknown key by naming the nearest known one."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from airdraft.errors import SettingsError


class Settings(BaseModel):
    """Base of every settings class. Build it with `parse` (or the constructor inside our own code)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, values: Any) -> Any:
        if isinstance(values, dict):
            known = list(cls.model_fields)
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(unknown(f"{cls.__name__} key", str(key), known))
        return values

    @classmethod
    def parse(cls, values: dict[str, Any], source: str = "settings") -> Self:
        """Build from a plain dict. Raises SettingsError that lists every fault and where it stands."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(f"{source}: {describe(error)}") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Build from a TOML file. Raises SettingsError when it cannot be read or does not fit."""
        try:
            values = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{path}: {error}. Expected a readable TOML file.") from error
        return cls.parse(values, str(path))


class Sampling(Settings):
    """How the target's token is chosen. Part of the contract: both sides warp and draw with exactly these.

    Temperature 0 is argmax, and then nothing else here matters. `top_k` 0 and `top_p` 1 mean "off".
    """

    temperature: float = Field(0.0, ge=0.0, le=100.0, allow_inf_nan=False)
    top_k: int = Field(0, ge=0, lt=2**31)
    top_p: float = Field(1.0, gt=0.0, le=1.0, allow_inf_nan=False)
    seed: int = Field(0, ge=0, lt=2**64)


class ModelSettings(Settings):
    """Which model runs where. `model` is a known name, a hub id, a local folder or a GGUF file."""

    model: str
    dtype: Literal["bfloat16", "float32", "float16"] = "bfloat16"
    device: str = "cpu"
    threads: int = Field(0, ge=0, le=1024, description="torch threads; 0 leaves torch's own choice")


def unknown(kind: str, given: str, known: list[str]) -> str:
    """The sentence for a name that is not known: what was given, the nearest known one, all known ones."""
    nearest = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown {kind} {given!r}.{hint} Known: {', '.join(sorted(known))}."


def describe(error: ValidationError) -> str:
    """Pydantic's findings as one line: `where: what`, separated by semicolons."""
    parts = []
    for finding in error.errors():
        where = ".".join(str(step) for step in finding["loc"])
        what = finding["msg"].removeprefix("Value error, ")
        given = "" if isinstance(finding["input"], dict) else f" (given: {finding['input']!r})"
        parts.append(f"{where}: {what}{given}" if where else what)
    return "; ".join(parts)
