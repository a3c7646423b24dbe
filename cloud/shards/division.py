"""Into how many shards a model can be cut, and which stretch of a dimension a shard gets. Pure: it reads no weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from airdraft.errors import CorruptModelError, SettingsError
from airdraft.models.configuration import read_json


def working_sizes(heads: int, key_value_heads: int) -> tuple[int, ...]:
    """The numbers of shards that give every shard whole heads, and its query heads their own key/value heads."""
    largest = math.gcd(heads, key_value_heads)
    return tuple(size for size in range(1, largest + 1) if largest % size == 0)


def check_division(folder: Path, shards: int) -> None:
    """Raises SettingsError, naming the sizes that would work, when the folder's model cannot be cut into so many shards."""
    configuration = read_json(folder / "config.json")
    heads: Any = configuration.get("num_attention_heads")
    key_value_heads: Any = configuration.get("num_key_value_heads") or heads
    if not _is_count(heads) or not _is_count(key_value_heads):
        raise CorruptModelError(f"{folder / 'config.json'} does not say how many heads the model has: expected num_attention_heads.")
    sizes = working_sizes(heads, key_value_heads)
    if shards not in sizes:
        allowed = ", ".join(map(str, sizes))
        raise SettingsError(
            f"{folder.name} cannot be cut into {shards} shards: it has {heads} heads over {key_value_heads} key/value heads, "
            f"and every shard needs whole ones. Numbers of shards that work: {allowed}."
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def stretch(size: int, rank: int, shards: int) -> tuple[int, int]:
    """Begin and end of the part of a dimension that `rank` gets; the parts differ by one at most when `size` does not divide."""
    return size * rank // shards, size * (rank + 1) // shards


def longest_stretch(size: int, shards: int) -> int:
    """The length of the longest part."""
    return -(-size // shards)
