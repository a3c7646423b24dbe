"""The target's preallocated key/value cache: a fixed number of slots, each as long as the longest context.

It stores and reads what it is told; which session owns a slot, and how much of it is valid, is the business of `cloud.slots`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

REACH_STEP = 256  # the attention of a position covers a whole number of steps, so that its length depends on the position alone


def reach(position: int) -> int:
    """How many cache entries the attention of `position` runs over: a function of the position and nothing else."""
    return (position // REACH_STEP + 1) * REACH_STEP


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Everything that decides how much memory a cache takes."""

    layers: int
    slots: int
    capacity: int  # tokens per slot; rounded up to a whole number of steps
    key_value_heads: int
    head_width: int

    @property
    def entries(self) -> int:
        """Tokens per slot as allocated."""
        return reach(max(self.capacity, 1) - 1)


class SlottedCache:
    """Keys and values [slots, key/value heads, entries, head width], one pair of tensors per layer. Rolling back is forgetting a length."""

    def __init__(self, shape: CacheShape, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = shape
        size = (shape.slots, shape.key_value_heads, shape.entries, shape.head_width)
        # Zeros, because a masked entry is still multiplied (by zero), and zero times whatever memory held could be NaN.
        self.keys = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layers)]
        self.values = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layers)]

    def write(self, layer: int, places: tuple[torch.Tensor, torch.Tensor], keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store keys and values [n, heads, width] at `places` = (slots [n], positions [n])."""
        slots, positions = places
        self.keys[layer][slots, :, positions] = keys
        self.values[layer][slots, :, positions] = values

    def read(self, layer: int, slots: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `length` keys and values of these slots, each [len(slots), heads, length, width]. One slot costs no copy."""
        keys, values = self.keys[layer][:, :, :length], self.values[layer][:, :, :length]
        if len(slots) == 1:
            only = int(slots[0])
            return keys[only : only + 1], values[only : only + 1]
        return keys.index_select(0, slots), values.index_select(0, slots)

    def copy(self, source: int, destination: int, length: int) -> None:
        """Let a slot hold what another one holds of its first `length` positions."""
        for part in (*self.keys, *self.values):
            part[destination, :, :length] = part[source, :, :length]

    @property
    def bytes(self) -> int:
        """Memory that the cache holds."""
        return sum(part.numel() * part.element_size() for part in (*self.keys, *self.values))
