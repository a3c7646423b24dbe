"""A small causal language model as the drafter: one forward per proposed token, and none again after a verdict.

It knows transformers' calling convention and its own cache; where the model came from, and what becomes of its proposals, it does not.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from airdraft import noise, quantised_row, rules, sampling
from airdraft.errors import InternalError, ModelError
from airdraft.messages import Contract, QuantisedRow
from airdraft.noise import Purpose
from airdraft.settings import Sampling
from edge.drafters.rolling_cache import RollingCache
from edge.seams import DraftStep

_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}  # layers whose state can be rolled back


class CausalModel:
    """Drafts with a transformers causal language model, whole and in memory.

    Tokens are drawn with the target's own noise from the drafter's distribution (airdraft.sampling), so that the two agree as often as
    their distributions do; for a rule that needs rows, from the very row that is sent. After a draft accepted whole the next step feeds
    two tokens (the last proposal was never fed, and the target's token), else one.
    """

    def __init__(self, model: Any) -> None:
        """Raises ModelError for a model with layers whose state cannot be rolled back (recurrent ones)."""
        config = model.config.get_text_config(decoder=True)
        odd = set(getattr(config, "layer_types", None) or ()) - _ATTENTION
        if odd:
            raise ModelError(
                f"a drafter must roll back, and layers of type {', '.join(sorted(odd))} cannot; choose a model of attention layers."
            )
        self.forward_calls = 0
        self._model = model.eval()
        self._device: torch.device = next(model.parameters()).device
        self._longest: int = getattr(config, "max_position_embeddings", None) or 2**31
        self._cache = RollingCache(config.num_hidden_layers)
        named = inspect.signature(model.forward).parameters
        self._cache_argument = "cache" if "cache" in named else "past_key_values"
        self._context: list[int] = []
        self._cached = 0  # how many tokens of the context the cache holds; after a step, all but the proposal itself
        self._vocabulary_size = 0
        self._sampling = Sampling()
        self._row_width = 0

    def begin(self, contract: Contract, rows_wanted: bool) -> None:
        """Start a response: the cache keeps what the old context shares with the prompt."""
        shared = _shared_length(self._context, contract.prompt)
        self._context = list(contract.prompt)
        self._cached = min(self._cached, shared)
        self._cache.cut(self._cached)
        self._vocabulary_size = contract.vocabulary_size
        self._sampling = contract.sampling
        self._row_width = rules.row_width(contract.rule) if rows_wanted else 0

    @property
    def length(self) -> int:
        """Tokens of context, its own proposals included."""
        return len(self._context)

    @property
    def pending(self) -> int:
        """Tokens that the next step will feed: 1, or 2 after a draft accepted whole; the whole prompt at first."""
        return max(len(self._context) - self._cached, 1)

    def extend(self, tokens: Sequence[int]) -> None:
        """Append committed tokens; they are fed by the next step."""
        self._context.extend(tokens)

    def step(self) -> DraftStep | None:
        """Propose one token with exactly one forward; None with no context, or once the model's positions are used up."""
        position = len(self._context)
        if not 0 < position < self._longest:
            return None
        if self._cached == position:  # everything was fed, but the row that predicts from here was not kept
            self._cached -= 1
            self._cache.cut(self._cached)
        logits = self._forward(self._context[self._cached :])
        self._cached = position
        token, row = self._draw(logits, position)
        self._context.append(token)
        return DraftStep(token, position, logits, row)

    def roll_back(self, length: int) -> None:
        """Keep only the first `length` tokens; the cache is cut by its length alone."""
        if not 0 <= length <= len(self._context):
            raise InternalError(f"a drafter with {len(self._context)} tokens of context cannot roll back to {length}.")
        del self._context[length:]
        if self._cached > length:
            self._cached = length
            self._cache.cut(length)

    @torch.inference_mode()
    def _forward(self, tokens: list[int]) -> np.ndarray:
        """Feed tokens [n] after those cached; the logits [V] float32 that follow the last one, in memory of their own."""
        self.forward_calls += 1
        ids = torch.tensor([tokens], device=self._device)
        arguments = {self._cache_argument: self._cache}
        result = self._model(input_ids=ids, use_cache=True, logits_to_keep=1, return_dict=True, **arguments)
        logits: np.ndarray = result.logits.view(-1)[: self._vocabulary_size].float().cpu().numpy()
        return logits

    def _draw(self, logits: np.ndarray, position: int) -> tuple[int, QuantisedRow | None]:
        if not self._row_width:
            return sampling.token(logits, self._sampling, position), None
        row = quantised_row.quantise(sampling.warped(logits, self._sampling), self._row_width)
        return quantised_row.draw(row, noise.key(self._sampling.seed, position, Purpose.DRAFT)), row


def _shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    shared = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        shared += 1
    return shared
