"""Tiny seeded models: the same architecture classes as the real ones, a few thousand weights, no download."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

VOCABULARY = 96


def tiny_llama(seed: int = 0, vocabulary: int = VOCABULARY, scale: float = 6.0, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """Two layers, four heads over two key/value heads. `scale` sharpens its logits, so that greedy text is not all near-ties."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return _sharpened(LlamaForCausalLM, config, seed, scale, dtype)


def tiny_qwen(seed: int = 0, vocabulary: int = VOCABULARY, scale: float = 6.0, dtype: torch.dtype = torch.float32) -> Qwen2ForCausalLM:
    """As `tiny_llama`, with Qwen2's biased projections."""
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return _sharpened(Qwen2ForCausalLM, config, seed, scale, dtype)


def _sharpened(kind, config, seed: int, scale: float, dtype: torch.dtype):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.3)
        model.lm_head.weight.data.mul_(scale / 3)
    return model.to(dtype).eval()
