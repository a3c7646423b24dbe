"""airdraft across a process boundary beside transformers in one process: `stream` and `generate`, `sequential` and assisted generation."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import torch

from airdraft import models
from airdraft.settings import ModelSettings
from benchmarks import local_cloud
from benchmarks.measurement import Report, Spread, ratio
from benchmarks.prompts import PROMPTS
from orchestration.assembly import DEFAULT_DRAFTER, DEFAULT_TARGET, Device

THREADS = 2
DRAFT_LENGTH = 4
NEW_TOKENS = 48
PAIRS = (("stream", "generate"), ("sequential", "assisted"))


@dataclass(frozen=True, slots=True)
class Reference:
    """The same two models under transformers' own generation."""

    target: Any
    drafter: Any

    def seconds_per_token(self, prompt: tuple[int, ...], assisted: bool) -> float:
        """One response, greedy, of exactly NEW_TOKENS tokens."""
        options: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}
        if assisted:
            settings = self.drafter.generation_config
            settings.num_assistant_tokens = DRAFT_LENGTH
            settings.num_assistant_tokens_schedule = "constant"
            settings.assistant_confidence_threshold = 0.0
            options["assistant_model"] = self.drafter
        ids = torch.tensor([prompt])
        started = time.perf_counter()
        with torch.inference_mode():
            made = self.target.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
        seconds = time.perf_counter() - started
        return seconds / (int(made.shape[1]) - len(prompt))


def run(quick: bool) -> Report:
    """Seconds per token of whole responses, prefill included; all four take turns on every prompt."""
    torch.set_num_threads(THREADS)
    reference = Reference(_plain(DEFAULT_TARGET), _plain(DEFAULT_DRAFTER))
    with local_cloud.cloud(DEFAULT_TARGET, "bfloat16", THREADS, "--context", "512") as address:
        taken = asyncio.run(_take_turns(address, reference, 2 if quick else len(PROMPTS)))
    ratios = {ours: ratio(taken[ours], taken[theirs]) for ours, theirs in PAIRS}
    rows = [(name, Spread.of(values).text(1000, 0), "") for name, values in taken.items()]
    rows += [(f"{ours} / {theirs}", "", ratios[ours].text(digits=2)) for ours, theirs in PAIRS]
    return Report(
        name="assisted",
        question=f"Milliseconds per token of {DEFAULT_TARGET} with {DEFAULT_DRAFTER} in bf16, {NEW_TOKENS} new tokens, prefill included: "
        f"airdraft over loopback gRPC (`stream`, `sequential` at k = {DRAFT_LENGTH}) beside transformers in one process "
        f"(`generate`, assisted generation with {DRAFT_LENGTH} constant assistant tokens and threshold 0).",
        columns=("candidate", "ms per token, median (min-max)", "ratio by prompt, median (min-max)"),
        rows=tuple(rows),
        figures={f"{ours}_over_{theirs}": ratios[ours].median for ours, theirs in PAIRS},
        headline=f"{ratios['stream'].median:.2f}× the time of `generate` when streaming, {ratios['sequential'].median:.2f}× that of "
        "assisted generation when drafting: airdraft across processes beside transformers in one, with the Qwen pair",
        bar="stream no slower than generate, sequential no slower than assisted generation",
        met=all(spread.median <= 1 for spread in ratios.values()),
        notes=(f"{len(taken['stream'])} prompts, {THREADS} threads per process; the two airdraft processes never compute at once.",),
    )


def _plain(name: str) -> Any:
    return models.load_model(models.ensure(name), ModelSettings(model=name, threads=THREADS))


async def _take_turns(address: str, reference: Reference, prompts: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for pair in PAIRS for name in pair}
    settings = local_cloud.drafting_with(DEFAULT_DRAFTER, "bfloat16", THREADS, draft_length=DRAFT_LENGTH)
    async with local_cloud.device(address, settings) as device:
        await _seconds_per_token(device, device.language.prompt("Warm up."), "sequential")
        for text in PROMPTS[:prompts]:
            prompt = device.language.prompt(text)
            taken["stream"].append(await _seconds_per_token(device, prompt, "stream"))
            taken["generate"].append(reference.seconds_per_token(prompt, assisted=False))
            taken["sequential"].append(await _seconds_per_token(device, prompt, "sequential"))
            taken["assisted"].append(reference.seconds_per_token(prompt, assisted=True))
    return taken


async def _seconds_per_token(device: Device, prompt: tuple[int, ...], schedule: str) -> float:
    started = time.perf_counter()
    tokens = await local_cloud.respond(device.session(schedule=schedule), device, prompt, NEW_TOKENS)
    return (time.perf_counter() - started) / len(tokens)
