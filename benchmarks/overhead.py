"""What a round costs beyond the two models' own time: two processes, loopback, real gRPC, a small real model on both sides."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

from benchmarks import local_cloud
from benchmarks.measurement import Report, Spread
from benchmarks.prompts import PROMPTS

MODEL = "smollm2-135m"
BAR_S = 0.003


class ForwardTimer:
    """Adds up the time that a model spends in its forward."""

    def __init__(self, model: Any) -> None:
        self.total_s = 0.0
        self._started_s = 0.0
        model.register_forward_pre_hook(lambda *_: self._start())
        model.register_forward_hook(lambda *_: self._stop())

    def _start(self) -> None:
        self._started_s = time.perf_counter()

    def _stop(self) -> None:
        self.total_s += time.perf_counter() - self._started_s


def run(quick: bool) -> Report:
    """Every round of some responses: from one verdict to the next, less the drafter's forwards and the target's forward."""
    with local_cloud.cloud(MODEL, "bfloat16", 1, "--context", "512") as address:
        overheads = {length: asyncio.run(_rounds(address, length, 2 if quick else len(PROMPTS))) for length in (1, 4, 8)}
    spreads = {length: Spread.of(values) for length, values in overheads.items()}
    return Report(
        name="overhead",
        question=f"Milliseconds per round beyond both models' forwards, {MODEL} drafting for itself in bf16 over loopback gRPC.",
        columns=("draft length", "rounds", "p50 ms (min-max)"),
        rows=tuple((str(length), str(spread.count), spread.text(1000, 2)) for length, spread in spreads.items()),
        figures={f"k{length}_p50_ms": spread.median * 1000 for length, spread in spreads.items()},
        bar=f"p50 at most {BAR_S * 1000:g} ms",
        met=all(spread.median <= BAR_S for spread in spreads.values()),
        notes=("Choosing tokens, encoding, gRPC, queueing, batching, judging and bookkeeping on both sides are all inside.",),
    )


async def _rounds(address: str, length: int, prompts: int) -> list[float]:
    settings = local_cloud.drafting_with(MODEL, "bfloat16", 1, draft_length=length)
    overheads: list[float] = []
    async with local_cloud.device(address, settings) as device:
        timer = ForwardTimer(local_cloud.model_of(device)._model)
        for prompt in PROMPTS[:prompts]:
            session = device.session()
            marks: list[tuple[float, float, float]] = []  # when a verdict came, and what both models had taken until then
            contract = device.contract(device.language.prompt(prompt), max_new_tokens=48)
            async for _ in session.generate(contract):
                if len(session.statistics.bursts) > len(marks):
                    marks.append((session.statistics.bursts[-1][0], timer.total_s, session.statistics.forward_s))
            for earlier, later in pairwise(marks[1:]):  # the first verdicts wait for the prefill
                spans = [after - before for before, after in zip(earlier, later, strict=True)]
                overheads.append(spans[0] - spans[1] - spans[2])
    return overheads
