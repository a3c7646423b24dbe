"""The libraries that only a model needs, imported when first used, so that a program without models starts without them."""

from __future__ import annotations

import importlib
from types import ModuleType

from airdraft.errors import SettingsError


def demand(module: str) -> ModuleType:
    """Import a library of the `models` extra. Raises SettingsError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(
            f"this needs {module.partition('.')[0]!r}, which cannot be imported ({error}). "
            'Install it with: pip install "airdraft[edge]" (on a device) or "airdraft[cloud]" (on a verifier).'
        ) from error
