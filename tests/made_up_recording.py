"""Recordings of a pair that does not exist: responses made of seeded random tokens, and a drafter that is right as often as one likes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from airdraft.messages import Finish
from airdraft.settings import Sampling
from orchestration.recording.entry import Entry, Predictions
from orchestration.recording.recording import Header, ModelIdentity, PromptSource, Recording, write_recording

VOCABULARY = 500
DRAFT_LENGTH = 16


def recording(count: int = 6, tokens: int = 24, acceptance: float = 0.8, prompt_length: int = 12, name: str = "made_up") -> Recording:
    """Prompts of the tasks easy and hard in turn; in easy ones the drafter errs half as often. No response ends with a stop token."""
    model = {"sha256": "00", "dtype": "float32", "vocabulary_size": VOCABULARY}
    header = Header(
        target=ModelIdentity("made-up-target", **model),
        drafter=ModelIdentity("made-up-drafter", **model),
        tokenizer_digest=b"made-up tokenizer",
        stop_tokens=(VOCABULARY - 1,),
        sampling=Sampling(),
        max_new_tokens=tokens,
        draft_length=DRAFT_LENGTH,
        prompts=PromptSource(name, "none needed", "00", "raw"),
        versions={"airdraft": "test"},
    )
    return Recording(header, tuple(_entry(f"{name}-{number}", number, tokens, prompt_length, acceptance) for number in range(count)))


def _entry(name: str, number: int, tokens: int, prompt_length: int, acceptance: float) -> Entry:
    draw = random.Random(name)
    task = "hard" if number % 2 else "easy"
    error = (1 - acceptance) * (1 if task == "hard" else 0.5)
    target = [draw.randrange(VOCABULARY - 1) for _ in range(tokens)]
    drafter = [_other(token) if draw.random() < error else token for token in target]
    misses = [row for row in range(tokens) if drafter[row] != target[row]]
    lengths = tuple(DRAFT_LENGTH - 1 for _ in misses)
    return Entry(
        name=name,
        task=task,
        prompt=tuple(draw.randrange(VOCABULARY - 1) for _ in range(prompt_length)),
        finish=Finish.LENGTH,
        target=_predictions(target),
        drafter=_predictions(drafter),
        continuations=_predictions([draw.randrange(VOCABULARY - 1) for _ in range(sum(lengths))]),
        continuation_lengths=lengths,
    )


def _other(token: int) -> int:
    return (token + 1) % (VOCABULARY - 1)


def _predictions(tokens: list[int]) -> Predictions:
    halves = np.full(len(tokens), 0.5, dtype=np.float16)
    return Predictions(np.array(tokens, dtype=np.uint32), halves, halves, halves, halves)


def written(folder: Path, **changes: Any) -> Path:
    """A recording's file."""
    made = recording(**changes)
    path = folder / f"{made.header.prompts.name}.msgpack.z"
    write_recording(path, made)
    return path


def values(path: Path, **changes: Any) -> dict[str, Any]:
    """A scenario that replays the file: a steady 5G link, a device of 10 ms per step, a verifier of 60 ms per token."""
    plain: dict[str, Any] = {
        "name": "test",
        "link": {"preset": "5g", "jitter_ms": 0.0, "loss": 0.0},
        "machines": {"draft_step_ms": 10.0, "target_token_ms": 60.0},
        "workload": {"recording": [str(path)]},
        "device": {"draft_length": 4},
    }
    return plain | changes
