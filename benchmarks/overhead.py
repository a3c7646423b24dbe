"""What a round costs beyond the two models' own time: two processes, loopback, real gRPC, a small real model on both sides."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise

from benchmarks import local_cloud
from benchmarks.measurement import Report, Spread
from benchmarks.prompts import PROMPTS
from edge.drafters.causal_model import CausalModel
from edge.seams import DraftStep

MODEL = "smollm2-135m"
BAR_S = 0.003


class StepTimer:
    """Adds up the time that the drafting model takes: its steps, from token ids to the token chosen, and within them its bare forwards."""

    def __init__(self, drafter: CausalModel) -> None:
        self.steps_s = 0.0
        self.forwards_s = 0.0
        self._forward_began_s = 0.0
        self._step = drafter.step
        drafter.step = self._timed_step  # type: ignore[method-assign]
        drafter._model.register_forward_pre_hook(lambda *_: self._forward_begins())
        drafter._model.register_forward_hook(lambda *_: self._forward_ends())

    def _timed_step(self) -> DraftStep | None:
        began_s = time.perf_counter()
        step = self._step()
        self.steps_s += time.perf_counter() - began_s
        return step

    def _forward_begins(self) -> None:
        self._forward_began_s = time.perf_counter()

    def _forward_ends(self) -> None:
        self.forwards_s += time.perf_counter() - self._forward_began_s


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of one round beyond the two models' own time."""

    beyond_steps_s: float  # own time: the drafter's steps, and the verifier's forward with the choice of its tokens
    beyond_forwards_s: float  # own time: of the drafter only its bare forwards


def run(quick: bool) -> Report:
    """Every round of some responses: from one verdict to the next, less what the two models took."""
    with local_cloud.cloud(MODEL, "bfloat16", 1, "--context", "512") as address:
        rounds = {length: asyncio.run(_rounds(address, length, 2 if quick else len(PROMPTS))) for length in (1, 4, 8)}
    spreads = {length: Spread.of([one.beyond_steps_s for one in of]) for length, of in rounds.items()}
    strict = {length: Spread.of([one.beyond_forwards_s for one in of]) for length, of in rounds.items()}
    return Report(
        name="overhead",
        question=f"Milliseconds per round beyond both models' own time, {MODEL} drafting for itself in bf16 over loopback gRPC.",
        columns=("draft length", "rounds", "p50 ms (min-max)", "the drafter's choosing of tokens included"),
        rows=tuple(
            (str(length), str(spread.count), spread.text(1000, 2), strict[length].text(1000, 2)) for length, spread in spreads.items()
        ),
        figures={f"k{length}_p50_ms": spread.median * 1000 for length, spread in spreads.items()}
        | {f"k{length}_with_choosing_p50_ms": spread.median * 1000 for length, spread in strict.items()},
        headline=_headline(spreads, strict),
        bar=f"p50 at most {BAR_S * 1000:g} ms",
        met=all(spread.median <= BAR_S for spread in spreads.values()),
        notes=(
            "A model's own time ends with the token it chose; the last column leaves to the drafter its bare forward alone.",
            "Encoding, gRPC, queueing, batching, changes of threads and bookkeeping on both sides are all inside.",
        ),
    )


def _headline(spreads: dict[int, Spread], strict: dict[int, Spread]) -> str:
    figures = "; ".join(f"{spread.median * 1000:.1f} ms at k = {length}" for length, spread in spreads.items())
    choosing = ", ".join(f"{spread.median * 1000:.1f}" for spread in strict.values())
    return (
        f"{figures}: a round on loopback (p50) beyond the verifier's forward and the drafter's steps, from token ids to the chosen token; "
        f"with the choosing of draft tokens {choosing} ms"
    )


async def _rounds(address: str, length: int, prompts: int) -> list[Round]:
    settings = local_cloud.drafting_with(MODEL, "bfloat16", 1, draft_length=length)
    rounds: list[Round] = []
    async with local_cloud.device(address, settings) as device:
        timer = StepTimer(local_cloud.model_of(device))
        for prompt in PROMPTS[:prompts]:
            session = device.session()
            marks: list[tuple[float, ...]] = []  # when a verdict came, and what the models had taken until then
            contract = device.contract(device.language.prompt(prompt), max_new_tokens=48)
            async for _ in session.generate(contract):
                statistics = session.statistics
                if len(statistics.bursts) > len(marks):
                    marks.append((statistics.bursts[-1][0], statistics.forward_s, timer.steps_s, timer.forwards_s))
            for earlier, later in pairwise(marks[1:]):  # the first verdicts wait for the prefill
                round_s, target_s, steps_s, forwards_s = (after - before for before, after in zip(earlier, later, strict=True))
                rounds.append(Round(round_s - target_s - steps_s, round_s - target_s - forwards_s))
    return rounds
