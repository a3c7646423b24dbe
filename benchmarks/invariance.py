"""What the batch-invariant forward costs beside the fastest attention: the same packed weights under both, at several contexts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from airdraft import models
from airdraft.packed_linear import pack_linears
from airdraft.settings import ModelSettings
from benchmarks.measurement import Report, Spread, ratio
from cloud.seams import Block
from cloud.target import TransformersTarget

MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
CONTEXTS = (200, 480, 900, 1900)
ROWS = 8
THREADS = 2
Step = Callable[[], float]


def run(quick: bool) -> Report:
    """One step of eight rows: ours, transformers' SDPA over the same packed weights, and SDPA over plain ones, in turns."""
    torch.set_num_threads(THREADS)
    names, contexts = (MODELS[:1], CONTEXTS[:2]) if quick else (MODELS, CONTEXTS)
    rows: list[tuple[str, ...]] = []
    figures: dict[str, dict[str, float]] = {}
    for name in names:
        for context, taken in _steps(name, contexts, 3 if quick else 9).items():
            to_packed, to_plain = ratio(taken["ours"], taken["packed"]), ratio(taken["ours"], taken["plain"])
            spreads = [Spread.of(taken[kind]).text(1000) for kind in ("ours", "packed", "plain")]
            rows.append((name, str(context), *spreads, to_packed.text(digits=2), to_plain.text(digits=2)))
            figures[f"{name}_{context}"] = {"over_packed_sdpa": to_packed.median, "over_plain_sdpa": to_plain.median}
    return Report(
        name="invariance",
        question=f"Milliseconds of one forward of {ROWS} rows in bf16: the batch-invariant forward, transformers' SDPA attention over the "
        "same packed weights (fastest), and transformers as it comes.",
        columns=("model", "context", "invariant", "SDPA, packed", "SDPA, plain", "invariant / packed", "invariant / plain"),
        rows=tuple(rows),
        figures=figures,
        headline=_headline(figures),
        notes=(f"Median (min-max) of turns, {THREADS} threads.",),
    )


def _headline(figures: dict[str, dict[str, float]]) -> str:
    over_packed, over_plain = (statistics.median(each[key] for each in figures.values()) for key in ("over_packed_sdpa", "over_plain_sdpa"))
    return (
        f"{over_packed:.2f}× the fastest attention, {over_plain:.2f}× transformers as it comes: the batch-invariant forward of {ROWS} rows"
        " (median over models and contexts)"
    )


def _steps(name: str, contexts: tuple[int, ...], repeats: int) -> dict[int, dict[str, list[float]]]:
    folder, settings = models.ensure(name), ModelSettings(model=name)
    plain, packed = models.load_model(folder, settings), models.load_model(folder, settings)
    pack_linears(packed)
    target = TransformersTarget(models.load_model(folder, settings), slots=1, capacity=max(contexts) + ROWS)
    taken: dict[int, dict[str, list[float]]] = {}
    for context in contexts:
        steps: dict[str, Step] = {
            "ours": lambda context=context: _ours(target, context),  # type: ignore[misc]  # a default argument binds the loop's value
            "packed": _sdpa(packed, context),
            "plain": _sdpa(plain, context),
        }
        taken[context] = {kind: [] for kind in steps}
        for turn in range(repeats + 1):
            for kind, step in steps.items():
                seconds = step()
                if turn:
                    taken[context][kind].append(seconds)
    return taken


def _ours(target: TransformersTarget, context: int) -> float:
    block = Block(0, context, tuple(range(ROWS)), ROWS)
    started = time.perf_counter()
    target.forward([block])
    return time.perf_counter() - started


def _sdpa(model: Any, context: int) -> Step:
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=torch.zeros(1, context, dtype=torch.long), cache=cache, use_cache=True, logits_to_keep=1)
    ids = torch.arange(ROWS)[None]

    def step() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            model(input_ids=ids, cache=cache, use_cache=True)
        seconds = time.perf_counter() - started
        cache.crop(-ROWS)
        return seconds

    return step
