"""A key/value cache for one sequence that rolls back by a length and appends in place. It knows nothing of tokens."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

FIRST_CAPACITY = 512  # positions; doubles when full


class RollingLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped here
    """Keys and values [1, heads, length, head size] of one layer, as views of buffers with room to spare: nothing is copied per step."""

    is_sliding = False
    is_croppable = True
    is_compileable = False
    supports_early_init = False

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self._keys: torch.Tensor | None = None
        self._values: torch.Tensor | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for these states, keeping what is there."""
        needed = self.length + key_states.shape[-2]
        capacity = FIRST_CAPACITY
        while capacity < needed:
            capacity *= 2
        self._keys = self._grown(self._keys, key_states, capacity)
        self._values = self._grown(self._values, value_states, capacity)
        self.is_initialized = True

    def _grown(self, old: torch.Tensor | None, like: torch.Tensor, capacity: int) -> torch.Tensor:
        grown = like.new_empty((like.shape[0], like.shape[1], capacity, like.shape[3]))
        if old is not None:
            grown[:, :, : self.length] = old[:, :, : self.length]
        return grown

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states [1, heads, n, head size]; all keys and values up to there."""
        end = self.length + key_states.shape[-2]
        if self._keys is None or self._values is None or end > self._keys.shape[2]:
            self.lazy_initialization(key_states, value_states)
        assert self._keys is not None and self._values is not None
        self._keys[:, :, self.length : end] = key_states
        self._values[:, :, self.length : end] = value_states
        self.length = end
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a query of that length will see."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions held."""
        return self.length

    def get_max_length(self) -> int:
        """No limit."""
        return -1

    def crop(self, tokens_to_remove: int) -> None:
        """Forget so many of the last positions; transformers gives the number as a negative one."""
        self.length -= abs(tokens_to_remove)


class RollingCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """One rolling layer per layer of the model."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[RollingLayer() for _ in range(layers)])

    def cut(self, length: int) -> None:
        """Keep at most the first `length` positions."""
        for layer in self.layers:
            layer.length = min(layer.length, length)
