"""The law of a rule's outcomes by enumeration, through the rule's own `judge`: every random number it asks for is tried over [0, 1).

The outcome is constant on intervals of each number; their ends are found by bisection, so probabilities come out to about 1e-9.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise
from unittest import mock

import numpy as np

from airdraft import noise, quantised_row, sampling
from airdraft.messages import QuantisedRow
from airdraft.settings import Sampling
from cloud.seams import AcceptanceRule, Question, Rows

Law = dict[Hashable, float]
GRID = np.linspace(0, 1 - 2.0**-53, 9).tolist()
TOLERANCE = 1e-11
WARM = Sampling(temperature=1.0)


@dataclass(frozen=True)
class Asked:
    """What a run wants to know next: the uniform number of this (position, purpose)."""

    key: tuple[int, int]


class _NotScriptedError(Exception):
    pass


def _attempt(run: Callable[[], Hashable], script: dict[tuple[int, int], float]) -> Hashable:
    """What `run` returns under these numbers, or what it asks for beyond them."""
    wanted: list[tuple[int, int]] = []

    def uniform(key: tuple[int, int]) -> float:
        if key not in script:
            wanted.append(key)
            raise _NotScriptedError
        return script[key]

    with (
        mock.patch.object(noise, "key", lambda seed, position, purpose: (position, int(purpose))),
        mock.patch.object(noise, "uniform", uniform),
    ):
        try:
            return run()
        except _NotScriptedError:
            return Asked(wanted[-1])


def law_of(run: Callable[[], Hashable]) -> Law:
    """The probability of everything that `run` can return, over the uniform numbers that it draws from `airdraft.noise`."""
    law: Law = defaultdict(float)

    def explore(script: dict[tuple[int, int], float], share: float) -> None:
        outcome = _attempt(run, script)
        if not isinstance(outcome, Asked):
            law[outcome] += share
            return
        events = [_attempt(run, {**script, outcome.key: value}) for value in GRID]
        cuts = [0.0]
        for index in range(len(GRID) - 1):
            cuts += _cuts(run, script, outcome.key, (GRID[index], GRID[index + 1]), (events[index], events[index + 1]))
        cuts.append(1.0)
        for low, high in pairwise(cuts):
            explore({**script, outcome.key: (low + high) / 2}, share * (high - low))

    explore({}, 1.0)
    return dict(law)


def _cuts(run, script, key, ends: tuple[float, float], events: tuple[Hashable, Hashable]) -> list[float]:
    if events[0] == events[1]:
        return []
    middle = (ends[0] + ends[1]) / 2
    if ends[1] - ends[0] < TOLERANCE:
        return [middle]
    event = _attempt(run, {**script, key: middle})
    return _cuts(run, script, key, (ends[0], middle), (events[0], event)) + _cuts(run, script, key, (middle, ends[1]), (event, events[1]))


@dataclass(frozen=True)
class World:
    """A target and a drafter over V tokens that look at the previous token only: logits [V, V] of each, row = previous token."""

    target_logits: np.ndarray
    draft_logits: np.ndarray
    choice: Sampling = WARM
    row_width: int = 16

    @property
    def size(self) -> int:
        return len(self.target_logits)

    def row(self, previous: int) -> QuantisedRow:
        """What the device sends with a token drafted after `previous`."""
        return quantised_row.quantise(sampling.warped(self.draft_logits[previous], self.choice), self.row_width)

    def drafted(self, previous: int) -> dict[int, float]:
        """The probabilities that the device really draws with."""
        row = self.row(previous)
        return {token: weight / quantised_row.SCALE for token, weight in zip(row.tokens, row.weights, strict=True)}

    def wanted(self, previous: int) -> dict[int, float]:
        """The target's own distribution after `previous`."""
        warped = sampling.warped(self.target_logits[previous], self.choice)
        return dict(zip(warped.tokens.tolist(), warped.probabilities.tolist(), strict=True))

    def overlap(self, previous: int) -> dict[int, float]:
        """min(p, q) of each token after `previous`."""
        wanted, drafted = self.wanted(previous), self.drafted(previous)
        return {token: min(wanted[token], drafted[token]) for token in wanted if token in drafted}

    def question(self, previous: int, tokens: tuple[int, ...], position: int = 0) -> Question:
        path = (previous, *tokens)
        logits = self.target_logits[list(path)]
        rows = Rows(logits, np.zeros((len(path), 1), dtype=np.float32))
        return Question(position, tokens, rows, self.choice, None, tuple(self.row(token) for token in path[:-1]))


def drafts(world: World, previous: int, length: int) -> dict[tuple[int, ...], float]:
    """All drafts of `length` tokens after `previous`, with their probabilities."""
    if length == 0:
        return {(): 1.0}
    return {
        (token, *rest): share * more
        for token, share in world.drafted(previous).items()
        for rest, more in drafts(world, token, length - 1).items()
    }


def round_law(rule: AcceptanceRule, world: World, previous: int, length: int) -> Law:
    """The tokens that one round emits, with their probabilities."""
    law: Law = defaultdict(float)
    for tokens, share in drafts(world, previous, length).items():
        question = world.question(previous, tokens)

        def run(question: Question = question) -> Hashable:
            judged = rule.judge(question)
            return (*question.tokens[: judged.accepted], judged.token)

        for emitted, part in law_of(run).items():
            law[emitted] += share * part
    return dict(law)


def two_token_law(rule: AcceptanceRule, world: World, length: int) -> Law:
    """The first two tokens of a response after token 0, by as many rounds of `length` draft tokens as that takes."""
    law: Law = defaultdict(float)
    second = {token: round_law(rule, world, token, length) for token in range(world.size)}
    for emitted, share in round_law(rule, world, 0, length).items():
        if len(emitted) >= 2:
            law[emitted[:2]] += share
            continue
        for following, part in second[emitted[0]].items():
            law[(emitted[0], following[0])] += share * part
    return dict(law)


def wanted_two_token_law(world: World) -> Law:
    return {(first, second): share * part for first, share in world.wanted(0).items() for second, part in world.wanted(first).items()}


def wanted_emitted(world: World, previous: int, length: int) -> float:
    """Tokens that a round emits in the mean: 1 + Σ over i of the probability that the first i draft tokens are all accepted."""
    if length == 0:
        return 1.0
    return 1.0 + sum(share * wanted_emitted(world, token, length - 1) for token, share in world.overlap(previous).items())


def total_variation(one: Law, other: Law) -> float:
    return sum(abs(one.get(outcome, 0.0) - other.get(outcome, 0.0)) for outcome in {*one, *other}) / 2
