"""What a response must be, found without sessions, drafts or links: transformers' greedy `generate`, or our target one token at a time."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import GenerationConfig

from airdraft import sampling
from airdraft.messages import Contract
from cloud.seams import Block
from cloud.target import TransformersTarget
from tests.worlds import Served


@functools.cache
def reference(served: Served, contract: Contract) -> tuple[int, ...]:
    """The response: by transformers at temperature 0 in float32, else by our own target."""
    if contract.sampling.temperature == 0 and served.dtype == "float32":
        return by_transformers(_model(served), contract)
    return by_target(_target(served), contract)


def by_transformers(model: Any, contract: Contract) -> tuple[int, ...]:
    """Greedy `generate`, without what a model's own configuration adds (penalties, end tokens); cut after the first stop token."""
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=contract.max_new_tokens, pad_token_id=0)
    prompt = torch.tensor([contract.prompt])
    with torch.inference_mode():
        text = model.generate(prompt, attention_mask=torch.ones_like(prompt))[0, len(contract.prompt) :].tolist()
    ends = [index for index, token in enumerate(text) if token in contract.stop_tokens]
    return tuple(text[: ends[0] + 1] if ends else text)


def by_target(target: TransformersTarget, contract: Contract) -> tuple[int, ...]:
    """The plain definition: a forward, a token, and again."""
    text, position = list(contract.prompt), 0
    while len(text) < len(contract.prompt) + contract.max_new_tokens and not set(text[len(contract.prompt) :]) & set(contract.stop_tokens):
        rows = target.forward([Block(0, position, tuple(text[position:]), 1)])[0]
        position = len(text)
        text.append(sampling.token(rows.logits[0], contract.sampling, position))
    return tuple(text[len(contract.prompt) :])


def release() -> None:
    """Let go of the models, which may take gigabytes; the texts are kept."""
    _model.cache_clear()
    _target.cache_clear()


@functools.lru_cache(maxsize=2)
def _model(served: Served) -> Any:
    return served.load()


@functools.lru_cache(maxsize=2)
def _target(served: Served) -> TransformersTarget:
    return served.target()
