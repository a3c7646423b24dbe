"""What both sides must agree on about text: the tokens, their digest, the chat template, and the tokens that end a response."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airdraft.errors import CorruptModelError, ModelError, SettingsError
from airdraft.models.configuration import read_json, vocabulary_size
from airdraft.models.extras import demand

DIGEST_BYTES = 16
PADDING = re.compile(r"\[PAD(\d+)\]")
ENDING_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer's tokens by id, added ones included, and its merges in order of priority (empty for other kinds than BPE).

    Places that a GGUF file fills up to the model's width (`[PAD151665]` at id 151665) are no tokens and are left out.
    """

    tokens: Mapping[int, str]
    merges: tuple[tuple[str, str], ...]

    @property
    def usable(self) -> int:
        """How many ids, counted from 0, a model must have a logit for."""
        return max(self.tokens, default=-1) + 1

    def digest(self) -> bytes:
        """16 bytes that are equal exactly when tokens and merges are: BLAKE2b of their canonical JSON."""
        canonical = json.dumps([sorted(self.tokens.items()), self.merges], separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=DIGEST_BYTES, person=b"airdraft-tokens").digest()


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, as transformers has it. Raises SettingsError when a library is missing, ModelError when it cannot be read."""
    transformers = demand("transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder} holds no tokenizer that can be loaded: {str(error)[:300]}") from error


def vocabulary(source: Path | Any) -> Vocabulary:
    """The vocabulary of a model folder or of a loaded tokenizer. Raises CorruptModelError when tokenizer.json is damaged, ModelError."""
    if not isinstance(source, Path):
        backend = getattr(source, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(f"{type(source).__name__} has no fast form. Save the model with a tokenizer.json.")
        return _parsed(json.loads(backend.to_str()))
    path = source / "tokenizer.json"
    if not path.exists():
        return vocabulary(load_tokenizer(source))
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CorruptModelError(f"{path} is damaged ({error}). Get the model's folder again.") from error


def _parsed(form: dict[str, Any]) -> Vocabulary:
    """From the tokenizers library's JSON form."""
    entries = form["model"]["vocab"]
    if isinstance(entries, dict):
        tokens = {int(number): token for token, number in entries.items()}
    else:  # a unigram model lists (piece, score) by id
        tokens = {number: entry[0] for number, entry in enumerate(entries)}
    tokens.update({int(token["id"]): token["content"] for token in form.get("added_tokens") or ()})
    kept = {number: token for number, token in tokens.items() if not _fills_up(number, token)}
    return Vocabulary(kept, tuple(_pair(merge) for merge in form["model"].get("merges") or ()))


def _fills_up(number: int, token: str) -> bool:
    match = PADDING.fullmatch(token)
    return match is not None and int(match[1]) == number


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def tokenizer_digest(source: Path | Any) -> bytes:
    """16 bytes that are equal exactly when two tokenizers (folders or loaded ones) have the same tokens, added tokens and merges."""
    return vocabulary(source).digest()


def chat_prompt(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
    """The token ids of a conversation (`role` and `content` each) in the model's chat template, ready for its answer.

    Raises SettingsError when the tokenizer has no template, or the template refuses the messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise SettingsError("this model has no chat template. Give it plain text instead, or choose a model tuned for chat.")
    try:
        text = tokenizer.apply_chat_template([dict(message) for message in messages], add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is a program of the model's author and raises what it likes
        raise SettingsError(f"the model's chat template refuses these messages: {error}") from error
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def stop_tokens(folder: Path) -> tuple[int, ...]:
    """The ids that end a response, ascending: those that the folder's files name, and the usual ending tokens of its vocabulary.

    An id without a logit in the model can never be drawn and is left out. Raises CorruptModelError.
    """
    ids = {token: number for number, token in vocabulary(folder).tokens.items()}
    found = {ids[token] for token in ENDING_TOKENS if token in ids}
    for name in ("generation_config.json", "config.json"):
        named = read_json(folder / name).get("eos_token_id")
        found.update(named if isinstance(named, list) else [named] if isinstance(named, int) else [])
    token = read_json(folder / "tokenizer_config.json").get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    if text in ids:
        found.add(ids[text])
    width = vocabulary_size(folder)
    return tuple(sorted(number for number in found if 0 <= number < width))
