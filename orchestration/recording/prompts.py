"""Prompt sets: JSON lines in the forms of Spec-Bench, GSM8K and HumanEval, and on what terms they may be passed on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airdraft.errors import SettingsError

# The field that holds the prompt, by the first of these that a line has.
FIELDS: dict[str, Callable[[Any], Any]] = {
    "turns": lambda value: value[0],  # Spec-Bench: the first turn
    "question": lambda value: value,  # GSM8K
    "prompt": lambda value: value,  # HumanEval, and whoever writes their own
}
LICENCES = {"spec_bench": "Apache-2.0", "gsm8k": "MIT", "humaneval": "MIT"}  # by how the file's name begins


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt's text."""

    name: str
    task: str
    text: str


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of one file, or some of them, in its order."""

    name: str
    licence: str
    sha256: str  # of the whole file
    prompts: tuple[Prompt, ...]


def read_prompts(path: Path, limit: int | None = None, licence: str | None = None) -> PromptSet:
    """The file's prompts; with `limit`, so many of them, evenly spaced, so that every task keeps its share. Raises SettingsError."""
    try:
        data = path.read_bytes()
        lines = [line for line in data.decode().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}. Expected a file of JSON lines that can be read.") from error
    if not lines:
        raise SettingsError(f"{path} holds no prompts. Expected a JSON object per line.")
    kept = range(len(lines)) if limit is None else [place * len(lines) // limit for place in range(min(limit, len(lines)))]
    if limit is not None and limit >= len(lines):
        kept = range(len(lines))
    prompts = tuple(_prompt(lines[place], path, place + 1) for place in kept)
    stated = licence or next((known for start, known in LICENCES.items() if path.stem.startswith(start)), "not stated")
    return PromptSet(path.stem, stated, hashlib.sha256(data).hexdigest(), prompts)


def _prompt(line: str, path: Path, number: int) -> Prompt:
    try:
        values: Mapping[str, Any] = json.loads(line)
        field = next((name for name in FIELDS if name in values), None)
        text = FIELDS[field](values[field]) if field else None
    except (ValueError, TypeError, LookupError) as error:
        raise SettingsError(f"{path}, line {number}: {error}. Expected a JSON object.") from error
    if not isinstance(text, str) or not text:
        raise SettingsError(f"{path}, line {number} holds no prompt. Expected text under one of: {', '.join(FIELDS)}.")
    return Prompt(str(values.get("id", number)), str(values.get("task", path.stem)), text)
