"""Measures what this machine takes for drafter steps, verifications and prefills, and fits a profile to it.

Every point is timed in every repetition, in a shuffled order, so that a busy moment of the machine does not fall on one point alone;
medians count.
"""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from itertools import combinations
from statistics import median

import numpy as np

from airdraft import __version__
from airdraft.messages import Contract, RuleChoice
from cloud import acceptance
from cloud.seams import Block, Question, Target
from edge.seams import Drafter
from orchestration.simulation.profile import Cost, MachineProfile, Residuals


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. Rows of one sequence's block, sequences at once, tokens of a prefill and of a drafter's first step."""

    verify_tokens: tuple[int, ...] = (1, 3, 5, 9, 17)
    sequences: tuple[int, ...] = (1, 2, 4)
    prefill_tokens: tuple[int, ...] = (8, 32, 64, 128, 256)
    draft_tokens: tuple[int, ...] = (1, 2, 32, 128)
    context: int = 200  # tokens that every sequence already holds
    repetitions: int = 9
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One combination, and the median of its times."""

    tokens: int  # in all sequences
    sequences: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measurable:
    """What is to be measured; None for what is not. The contract's prompt fills the contexts, over and over."""

    name: str
    contract: Contract
    models: str = ""
    target: Target | None = None
    drafter: Drafter | None = None


@dataclass(slots=True)
class _Trial:
    tokens: int
    sequences: int
    run: Callable[[], None]
    prepare: Callable[[], None] = lambda: None
    seconds: list[float] = field(default_factory=list)

    def time(self) -> None:
        self.prepare()
        started = time.perf_counter()
        self.run()
        self.seconds.append(time.perf_counter() - started)


def measure_verifier(target: Target, contract: Contract, plan: Plan = Plan()) -> tuple[list[Point], list[Point]]:
    """Points of verification, the exact rule's judgement included, and of prefill. Overwrites the target's slots."""
    counts = [count for count in plan.sequences if count <= target.slots]
    ground = _Ground(target, contract, plan.context)
    for slot in range(max(counts)):
        target.forward([Block(slot, 0, ground.tokens(0, plan.context), 0)])
    verify = [ground.verification(rows, count) for rows in plan.verify_tokens for count in counts]
    prefill = [ground.prefill(rows) for rows in plan.prefill_tokens]
    return _timed(verify, plan), _timed(prefill, plan)


def measure_drafter(drafter: Drafter, contract: Contract, plan: Plan = Plan()) -> list[Point]:
    """Points of one drafted token, by how many tokens had to be fed for it: 1 as a rule, more at first and after a draft accepted whole."""
    prompt = tuple(contract.prompt[index % len(contract.prompt)] for index in range(plan.context))
    drafter.begin(replace(contract, prompt=prompt), False)
    drafter.step()

    def prepared(count: int) -> Callable[[], None]:
        def prepare() -> None:
            drafter.roll_back(plan.context)
            drafter.step()  # now everything before the last token is fed
            drafter.extend(prompt[: count - 1])

        return prepare

    def step() -> None:
        drafter.step()

    return _timed([_Trial(count, 1, step, prepared(count)) for count in plan.draft_tokens if count < plan.context], plan)


def measured_profile(measurable: Measurable, plan: Plan = Plan()) -> MachineProfile:
    """This machine's profile, of the target and the drafter that are given. Takes seconds to minutes, as the models do."""
    text = f"measured by airdraft profile: median of {plan.repetitions}, {plan.context} tokens of context"
    costs: dict[str, Cost] = {}
    if measurable.target is not None:
        verify, prefill = measure_verifier(measurable.target, measurable.contract, plan)
        costs |= {"verify": best_fit(verify, text), "prefill": best_fit(prefill, text)}
    if measurable.drafter is not None:
        costs["draft"] = fit(measure_drafter(measurable.drafter, measurable.contract, plan), text)
    return MachineProfile(
        name=measurable.name,
        machine=f"{platform.machine()} with {os.cpu_count()} cores, {platform.system()}",
        model=measurable.models,
        versions=versions(),
        verify=costs.get("verify"),
        prefill=costs.get("prefill"),
        draft=costs.get("draft"),
    )


def versions() -> dict[str, str]:
    """Of what the figures depend on, as far as it is installed."""
    found = {"airdraft": __version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "numpy"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def fit(points: Sequence[Point], text: str, rows_multiple: int = 1) -> Cost:
    """The cost with the least relative squared error and no negative part. More than one number of sequences gives a part for those."""
    rows = np.array([-(-point.tokens // rows_multiple) * rows_multiple for point in points], float)
    sequences = np.array([point.sequences for point in points], float)
    seconds = np.array([point.seconds for point in points])
    parts = [np.ones_like(rows), rows, sequences] if len(set(sequences)) > 1 else [np.ones_like(rows), rows]
    design = np.stack(parts, axis=1) / seconds[:, None]
    weights = _non_negative(design, np.ones_like(seconds))
    off = np.abs(design @ weights - 1.0)
    fixed_s, per_token_s, per_sequence_s = (*weights.tolist(), 0.0)[:3]
    residuals = Residuals(points=len(points), median_share=round(float(np.median(off)), 4), worst_share=round(float(off.max()), 4))
    return Cost(
        source="measured",
        text=text,
        fixed_s=_rounded(fixed_s),
        per_token_s=_rounded(per_token_s),
        per_sequence_s=_rounded(per_sequence_s),
        rows_multiple=rows_multiple,
        residuals=residuals,
    )


def best_fit(points: Sequence[Point], text: str) -> Cost:
    """The fit with rows padded as this machine's forward pads them: not at all, or to eight, whichever describes the points better."""
    fits = [fit(points, text, multiple) for multiple in (1, 8)]
    return min(fits, key=lambda cost: cost.residuals.median_share if cost.residuals else 0.0)


class _Ground:
    """A target whose slots hold the contract's prompt, over and over, up to `context`."""

    def __init__(self, target: Target, contract: Contract, context: int) -> None:
        self._target = target
        self._contract = contract
        self._context = context

    def tokens(self, start: int, count: int) -> tuple[int, ...]:
        prompt = self._contract.prompt
        return tuple(prompt[index % len(prompt)] for index in range(start, start + count))

    def verification(self, rows: int, sequences: int) -> _Trial:
        tokens = self.tokens(self._context, rows)
        blocks = [Block(slot, self._context, tokens, rows) for slot in range(sequences)]
        rule = acceptance.build(RuleChoice("exact"))

        def run() -> None:
            for its_rows in self._target.forward(blocks):
                rule.judge(Question(self._context + 1, tokens[1:], its_rows, self._contract.sampling, None, ()))

        return _Trial(rows * sequences, sequences, run)

    def prefill(self, rows: int) -> _Trial:
        block = Block(0, self._context, self.tokens(self._context, rows), 0)

        def run() -> None:
            self._target.forward([block])

        return _Trial(rows, 1, run)


def _timed(trials: Sequence[_Trial], plan: Plan) -> list[Point]:
    order = random.Random(plan.seed)
    for trial in trials:
        trial.time()
        trial.seconds.clear()  # the first time of anything pays for more than itself
    for _ in range(plan.repetitions):
        for trial in order.sample(list(trials), len(trials)):
            trial.time()
    return [Point(trial.tokens, trial.sequences, median(trial.seconds)) for trial in trials]


def _non_negative(design: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Least squares without negative weights: with two or three of them every choice of which are zero can be tried."""
    count = design.shape[1]
    best, least = np.zeros(count), float(wanted @ wanted)
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            found, *_ = np.linalg.lstsq(design[:, chosen], wanted, rcond=None)
            error = float(np.sum((design[:, chosen] @ found - wanted) ** 2))
            if (found >= 0).all() and error < least:
                best, least = np.zeros(count), error
                best[list(chosen)] = found
    return best


def _rounded(seconds: float) -> float:
    """To the microsecond and four digits: a profile is read by people."""
    return float(f"{seconds:.4g}")
