"""The JSON files of a model folder: read with care, and the one number that is asked of them here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airdraft.errors import CorruptModelError


def read_json(path: Path) -> dict[str, Any]:
    """The file's object; empty when there is no file. Raises CorruptModelError when it is no JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CorruptModelError(f"{path} is damaged ({error}). Get the model's folder again.") from error
    if not isinstance(values, dict):
        raise CorruptModelError(f"{path} holds a {type(values).__name__}, expected an object. Get the model's folder again.")
    return values


def vocabulary_size(folder: Path) -> int:
    """How many logits the folder's model has per position; it may exceed the number of tokens. Raises CorruptModelError."""
    configuration = read_json(folder / "config.json")
    text_part = configuration.get("text_config")
    size = configuration.get("vocab_size", text_part.get("vocab_size") if isinstance(text_part, dict) else None)
    if not isinstance(size, int) or size < 1:
        raise CorruptModelError(f"{folder / 'config.json'} states no vocab_size. Expected the configuration of a causal language model.")
    return size
