"""The target: a transformers causal model over the slotted cache, with a forward whose rows do not depend on their company.

It turns blocks into rows of logits and hidden states; sessions, drafts and rules are unknown to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from airdraft.errors import InternalError, SettingsError
from airdraft.packed_linear import pack_linears
from cloud.attention import NAME, padded, plan
from cloud.cache import CacheShape, SlottedCache
from cloud.seams import Block, Rows, Target

ROW_LIMIT = 512  # rows of one forward for which the kernels were measured to keep their order of reduction


class TransformersTarget:
    """A transformers model (`PreTrainedModel`) as a `Target`. Takes it over: its linear layers are packed, its attention replaced.

    Equal rows are bitwise equal in bfloat16 and float32 on the CPU, whatever the blocks, slots and neighbours (tests/end_to_end and
    benchmarks measure it). Raises SettingsError for a model whose attention is not plain causal over the whole context.
    """

    def __init__(self, model: Any, slots: int, capacity: int, *, pack: bool = True) -> None:
        config = model.config
        _check(config, capacity)
        if pack:
            pack_linears(model)
        model.set_attn_implementation(NAME)
        self._body: torch.nn.Module = model.base_model
        self._head: torch.nn.Module = model.get_output_embeddings()
        self._device = next(model.parameters()).device
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = CacheShape(config.num_hidden_layers, slots, capacity, config.num_key_value_heads, width)
        self.cache = SlottedCache(shape, next(model.parameters()).dtype, self._device)
        self._vocabulary_size = int(config.vocab_size)
        self.forwards = 0

    @property
    def vocabulary_size(self) -> int:
        """Width of a row of logits."""
        return self._vocabulary_size

    @property
    def slots(self) -> int:
        """Sequences that the cache can hold at once."""
        return self.cache.shape.slots

    @property
    def capacity(self) -> int:
        """Tokens that one slot can hold."""
        return self.cache.shape.capacity

    @torch.inference_mode()
    def forward(self, blocks: Sequence[Block]) -> list[Rows]:
        """Feed the blocks in one forward. Raises InternalError for blocks that do not fit the cache or each other."""
        check_blocks(blocks, self)
        layout = plan(blocks, self.cache, self._device)
        output = self._body(input_ids=layout.tokens, position_ids=layout.positions, use_cache=False, airdraft_plan=layout)
        self.forwards += 1
        return self._rows(blocks, output.last_hidden_state[0])

    def _rows(self, blocks: Sequence[Block], hidden: torch.Tensor) -> list[Rows]:
        """Cut the wanted rows out of hidden states [N, d], and put them through the head: only those, padded like every other matrix."""
        ends = np.cumsum([len(block.tokens) for block in blocks])
        wanted = [row for end, block in zip(ends, blocks, strict=True) for row in range(end - block.wanted, end)]
        if not wanted:
            empty = Rows(np.empty((0, self._vocabulary_size), np.float32), np.empty((0, hidden.shape[-1]), np.float32))
            return [empty] * len(blocks)
        chosen = hidden[wanted + [wanted[-1]] * (padded(len(wanted)) - len(wanted))]
        logits = self._head(chosen)[: len(wanted)].float().cpu().numpy()
        states = chosen[: len(wanted)].float().cpu().numpy()
        cuts = np.cumsum([block.wanted for block in blocks])[:-1]
        return [Rows(*pair) for pair in zip(np.split(logits, cuts), np.split(states, cuts), strict=True)]


def check_blocks(blocks: Sequence[Block], target: Target) -> None:
    """Raises InternalError for blocks that do not fit the target's cache or each other."""
    rows = sum(len(block.tokens) for block in blocks)
    if not 1 <= rows <= ROW_LIMIT:
        raise InternalError(f"a forward of {rows} rows; expected 1 to {ROW_LIMIT}")
    if len({block.slot for block in blocks}) != len(blocks):
        raise InternalError("two blocks of one forward share a slot; expected at most one block per slot")
    for block in blocks:
        inside = block.position >= 0 and block.position + len(block.tokens) <= target.capacity and 0 <= block.slot < target.slots
        if not (inside and 0 <= block.wanted <= len(block.tokens) and block.tokens):
            raise InternalError(f"a block that does not fit: slot {block.slot}, position {block.position}, {len(block.tokens)} tokens")
        if not all(0 <= token < target.vocabulary_size for token in block.tokens):
            raise InternalError(f"a block with a token outside the vocabulary of {target.vocabulary_size}")


def _check(config: Any, capacity: int) -> None:
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layer_types != {"full_attention"}:
        raise SettingsError(
            f"the target has layers of type {sorted(layer_types)}; expected full attention only. Choose a model without sliding windows."
        )
    limit = int(getattr(config, "max_position_embeddings", capacity))
    if capacity > limit:
        raise SettingsError(
            f"a context of {capacity} tokens was asked for, but the model was made for {limit}. Set a context of {limit} or less."
        )
