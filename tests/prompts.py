"""Prompts for tests with real models: those of the data folder when there is one, else twenty short ones."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

from airdraft import models

BUILT_IN = (
    "Write a function that reverses a string.",
    "The capital of France is",
    "def fibonacci(n):\n",
    "List three fruits and their colours.",
    "Explain why the sky is blue in one sentence.",
    "import numpy as np\n\ndef mean(values):\n",
    "A train leaves at 9:40 and arrives at 11:15. How long is the journey?",
    "Translate to German: Good morning, how are you?",
    "SELECT name, age FROM",
    "Once upon a time there was a small robot that",
    "What is 17 times 23?",
    "class Stack:\n    def __init__(self):\n",
    "Summarise: The meeting was moved from Monday to Thursday because the room was taken on Monday.",
    "Name the planets of the solar system in order.",
    "for i in range(10):\n    print(i)\nfor i in range(10):\n",
    "Dear Sir or Madam,",
    "The opposite of hot is cold. The opposite of up is",
    "Write a haiku about the sea.",
    '{"name": "Ada", "born": 1815, "known_for":',
    "Which is heavier, a kilogram of iron or a kilogram of feathers?",
)


@functools.cache
def texts(count: int) -> tuple[str, ...]:
    """So many prompts; from the folder `AIRDRAFT_DATA`, taken evenly over its files, if that is set."""
    folder = os.environ.get("AIRDRAFT_DATA")
    if not folder:
        return BUILT_IN[:count]
    found = [
        [text for text in map(_text, path.read_text().splitlines()) if text] for path in sorted(Path(folder, "prompts").glob("*.jsonl"))
    ]
    mixed = [text for row in zip(*found, strict=False) for text in row]
    return tuple(mixed[:count])


def _text(line: str) -> str:
    entry = json.loads(line)
    text: str = entry.get("prompt") or entry.get("question") or entry["turns"][0]
    return text


@functools.cache
def tokens(model: str, texts: tuple[str, ...], longest: int = 400) -> list[tuple[int, ...]]:
    """The texts as a model's tokens, each cut to the last `longest`."""
    tokenizer = models.load_tokenizer(models.ensure(model))
    return [tuple(tokenizer.encode(text))[-longest:] for text in texts]
