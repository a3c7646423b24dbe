"""A tiny target and a drafter that is often right, as model folders with a byte-level tokenizer and a chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.tiny_models import tiny_llama

SPECIAL = ("<|im_start|>", "<|im_end|>")
WORDS = ("in", "er")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 256 + len(WORDS) + len(SPECIAL)


def save_pair(folder: Path) -> tuple[Path, Path]:
    """Folders `tiny-target` and `tiny-drafter`."""
    target, drafter = tiny_llama(seed=3, vocabulary=VOCABULARY), tiny_llama(seed=3, vocabulary=VOCABULARY)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = drafter.lm_head.weight
        head.data.add_(torch.randn_like(head) * head.std() * 0.35)
    for model in (target, drafter):
        model.lm_head.weight.data[tokenizer().eos_token_id] = 0  # never the likeliest: a greedy answer is as long as was asked
    return save(target, folder / "tiny-target"), save(drafter, folder / "tiny-drafter")


def save(model: Any, folder: Path, template: str | None = TEMPLATE) -> Path:
    model.save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Bytes, two merges, and the two markers; it encodes any text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, *WORDS])}
    merges: list[tuple[str, str]] = [("i", "n"), ("e", "r")]
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=SPECIAL[1], additional_special_tokens=[SPECIAL[0]])
    fast.chat_template = template
    return fast
