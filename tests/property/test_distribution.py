"""Both rules emit the target's own distribution, jointly over two tokens; the same checks catch every planted fault."""

from collections import Counter
from unittest import mock

import numpy as np
import pytest
from scipy import stats

import cloud.acceptance
from airdraft import noise, quantised_row, sampling
from airdraft.messages import RuleChoice
from airdraft.noise import Purpose
from airdraft.settings import Sampling
from cloud.acceptance.exact import Exact
from cloud.acceptance.speculative_sampling import SpeculativeSampling
from cloud.seams import Judgement, Question
from tests.enumeration import WARM, World, round_law, total_variation, two_token_law, wanted_emitted, wanted_two_token_law

SPECULATIVE = cloud.acceptance.build(RuleChoice("speculative_sampling"))
EXACT = cloud.acceptance.build(RuleChoice("exact"))


def random_world(seed: int, size: int = 3, choice: Sampling = WARM, row_width: int = 16) -> World:
    generator = np.random.default_rng(seed)
    target, draft = generator.normal(0, 1.2, (2, size, size)).astype(np.float32)
    return World(target, draft, choice, row_width)


def toy_world() -> World:
    """p = [.6, .3, .1], q = [.3, .3, .4] after every token."""
    target, draft = (np.log(np.tile(row, (3, 1))).astype(np.float32) for row in ([0.6, 0.3, 0.1], [0.3, 0.3, 0.4]))
    return World(target, draft)


WORLDS = {
    "toy": toy_world(),
    "quantised": random_world(1),
    "row cut to two of three": random_world(2, row_width=2),
    "row cut to one": random_world(3, row_width=1),
    "top-k": random_world(4, 4, Sampling(temperature=0.8, top_k=2)),
    "top-p": random_world(5, 4, Sampling(temperature=1.5, top_p=0.8), row_width=2),
}


# By enumeration


def faults_by_enumeration(rule, world: World, length: int) -> list[str]:
    """What is wrong with the tokens that `rule` emits in `world`, for drafts of `length` tokens; nothing for a lossless rule."""
    found = []
    variation = total_variation(two_token_law(rule, world, length), wanted_two_token_law(world))
    if variation > 1e-8:
        found.append(f"law: two tokens are off the target's by {variation:.1e} in total variation")
    emitted = sum(share * len(tokens) for tokens, share in round_law(rule, world, 0, length).items())
    if abs(emitted - wanted_emitted(world, 0, length)) > 1e-8:
        found.append(f"length: a round emits {emitted} tokens, not {wanted_emitted(world, 0, length)}")
    return found


@pytest.mark.parametrize("length", [0, 1, 2])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_speculative_sampling_emits_the_target_s_distribution(world, length):
    assert faults_by_enumeration(SPECULATIVE, world, length) == []


class InvertedRatio(SpeculativeSampling):
    """Accepts with q / p."""

    def _accepts(self, uniform, target_probability, draft_probability):
        return uniform * target_probability < draft_probability


class AcceptsEverything(SpeculativeSampling):
    def _accepts(self, uniform, target_probability, draft_probability):
        return True


class DroppedBonus(SpeculativeSampling):
    """After a draft accepted whole, its last token is given out as the target's."""

    def judge(self, question: Question) -> Judgement:
        judged = super().judge(question)
        whole = len(question.tokens)
        return Judgement(whole - 1, question.tokens[-1]) if judged.accepted == whole > 0 else judged


class BonusFromTheLastRow(SpeculativeSampling):
    """The bonus is drawn from the row that judged the last draft token."""

    def _bonus(self, question: Question) -> int:
        target = sampling.warped(question.rows.logits[max(len(question.tokens) - 1, 0)], question.sampling)
        key = noise.key(question.sampling.seed, question.position + len(question.tokens), Purpose.BONUS)
        return sampling.draw(target.tokens, target.probabilities, noise.uniform(key))


class ResidualFromOneProbability(SpeculativeSampling):
    """Knows q of the drawn token only, so it can take off nothing else."""

    def _accepts(self, uniform, target_probability, draft_probability):
        self._sent = draft_probability
        return super()._accepts(uniform, target_probability, draft_probability)

    def _residual(self, target, draft_row):
        row = {token: weight / quantised_row.SCALE for token, weight in zip(draft_row.tokens, draft_row.weights, strict=True)}
        drawn = next(token for token, share in row.items() if share == self._sent)
        return np.where(target.tokens == drawn, 0.0, target.probabilities)


class ResidualFromTheTarget(SpeculativeSampling):
    """Resamples from p as it is."""

    def _residual(self, target, draft_row):
        return target.probabilities


class OneNumberForBoth(SpeculativeSampling):
    """Draws the replacement with the number that rejected the token."""

    def judge(self, question: Question) -> Judgement:
        sound = noise.key

        def merged(seed, position, purpose):
            return sound(seed, position, Purpose.ACCEPT if purpose == Purpose.RESIDUAL else purpose)

        with mock.patch.object(noise, "key", merged):
            return super().judge(question)


FAULTS = {
    InvertedRatio: "law",
    AcceptsEverything: "law",
    DroppedBonus: "length",
    BonusFromTheLastRow: "law",
    ResidualFromOneProbability: "law",
    ResidualFromTheTarget: "law",
    OneNumberForBoth: "law",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found_by_the_same_enumeration(fault):
    found = [finding for length in (1, 2) for finding in faults_by_enumeration(fault(16), random_world(1), length)]
    assert FAULTS[fault] in [finding.split(":")[0] for finding in found]


def test_drawing_from_the_unquantised_row_is_found_by_the_same_enumeration():
    class Careless(World):
        def drafted(self, previous):
            warped = sampling.warped(self.draft_logits[previous], self.choice)
            return dict(zip(warped.tokens.tolist(), warped.probabilities.tolist(), strict=True))

    sound = random_world(1)
    found = faults_by_enumeration(SPECULATIVE, Careless(sound.target_logits, sound.draft_logits), 1)
    assert found and found[0].startswith("law")
    assert faults_by_enumeration(SPECULATIVE, sound, 1) == []


def test_the_toy_example_has_its_closed_form():
    """Leviathan et al. 2023: acceptance Σ min(p, q) = .7 and the residual is all on token 0; q is .3, .3, .4 to 1 / 4096."""
    world = toy_world()
    row = world.row(0)
    assert row.weights == (1229, 1229, 1638)
    assert sum(world.overlap(0).values()) == pytest.approx(0.7, abs=1e-3)
    law = round_law(SPECULATIVE, world, 0, 1)
    assert sum(share for emitted, share in law.items() if len(emitted) == 2) == pytest.approx(sum(world.overlap(0).values()), abs=1e-9)
    residual = SPECULATIVE._residual(sampling.warped(world.target_logits[0], WARM), row)
    assert (residual / residual.sum()).tolist() == [1.0, 0.0, 0.0]


def test_a_certain_draft_is_accepted_with_its_probability_and_else_removed():
    world = random_world(3, row_width=1)
    ((drafted, _),) = world.drafted(0).items()
    wanted = world.wanted(0)
    law = round_law(SPECULATIVE, world, 0, 1)
    assert sum(share for emitted, share in law.items() if len(emitted) == 2) == pytest.approx(wanted[drafted], abs=1e-9)
    assert {emitted[0]: share for emitted, share in law.items() if len(emitted) == 1} == pytest.approx(
        {token: share for token, share in wanted.items() if token != drafted}, abs=1e-9
    )


def test_exact_emits_the_same_text_for_every_draft():
    """Whatever is drafted, the text is what drawing token after token gives: all drafts of up to two tokens, many seeds."""
    for seed in range(60):
        world = random_world(6, choice=Sampling(temperature=1.0, seed=seed))
        own = [0]
        for position in range(3):
            own.append(sampling.token(world.target_logits[own[-1]], world.choice, position))
        every = [(), *[(a,) for a in range(3)], *[(a, b) for a in range(3) for b in range(3)]]
        for tokens in every:
            judged = EXACT.judge(world.question(0, tokens))
            emitted = (*tokens[: judged.accepted], judged.token)
            assert list(emitted) == own[1 : 1 + len(emitted)]


# By drawing, with the real noise


def draft(world: World, previous: int, position: int, length: int, coupled: bool) -> tuple[int, ...]:
    """What a device drafts: with the target's noise for the exact rule, from its rows otherwise."""
    tokens: list[int] = []
    for place in range(position, position + length):
        last = tokens[-1] if tokens else previous
        if coupled:
            tokens.append(sampling.token(world.draft_logits[last], world.choice, place))
        else:
            tokens.append(quantised_row.draw(world.row(last), noise.key(world.choice.seed, place, Purpose.DRAFT)))
    return tuple(tokens)


def two_tokens(rule, world: World, position: int, length: int) -> tuple[int, int]:
    """The first two tokens after token 0, at `position` and the next, by drafts of `length`."""
    emitted: list[int] = []
    while len(emitted) < 2:
        previous = emitted[-1] if emitted else 0
        place = position + len(emitted)
        tokens = draft(world, previous, place, length, coupled=not rule.needs_rows)
        judged = rule.judge(world.question(previous, tokens, place))
        emitted += [*tokens[: judged.accepted], judged.token]
    return emitted[0], emitted[1]


def p_value(rule, world: World, pairs: int) -> float:
    """Of a chi-square test that pairs of tokens, by drafts of 0, 1 and 2 in turn, follow the target's joint distribution."""
    wanted = wanted_two_token_law(world)
    counts = Counter(two_tokens(rule, world, 10 * index, index % 3) for index in range(pairs))
    if not set(counts) <= set(wanted):
        return 0.0
    return stats.chisquare([counts[pair] for pair in wanted], [share * pairs for share in wanted.values()]).pvalue


def kindred_world(seed: int) -> World:
    """A drafter that is right more often than not, cut to two of the three tokens that survive the warping."""
    generator = np.random.default_rng(seed)
    target = generator.normal(0, 2, (4, 4)).astype(np.float32)
    draft = (target + generator.normal(0, 0.7, (4, 4))).astype(np.float32)
    return World(target, draft, Sampling(temperature=1.2, top_k=3, seed=12), row_width=2)


DRAWN_WORLD = kindred_world(8)


@pytest.mark.parametrize("pairs", [5_000, pytest.param(100_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])], ids=["short", "1e5"])
@pytest.mark.parametrize("rule", [EXACT, SPECULATIVE], ids=["exact", "speculative_sampling"])
def test_drawn_pairs_follow_the_target_s_joint_distribution(rule, pairs):
    assert p_value(rule, DRAWN_WORLD, pairs) > 0.01


class AcceptsAnyDraft(Exact):
    def judge(self, question: Question) -> Judgement:
        return Judgement(len(question.tokens), self._token(question, len(question.tokens)))


class NoiseOfTheFirstPosition(Exact):
    """Draws every token of a round with the noise of the round's first position: each token alone looks right."""

    def _token(self, question: Question, index: int) -> int:
        return sampling.token(question.rows.logits[index], question.sampling, question.position)


class RowsOffByOne(Exact):
    def _token(self, question: Question, index: int) -> int:
        return sampling.token(question.rows.logits[max(index - 1, 0)], question.sampling, question.position + index)


@pytest.mark.parametrize(
    "fault", [AcceptsAnyDraft, NoiseOfTheFirstPosition, RowsOffByOne, InvertedRatio, BonusFromTheLastRow], ids=lambda fault: fault.__name__
)
def test_a_planted_fault_is_found_by_the_same_draws(fault):
    rule = fault() if issubclass(fault, Exact) else fault(16)
    assert p_value(rule, DRAWN_WORLD, 2_000) < 1e-6


# Statistics of acceptance


def accepted_share(rule, world: World, rounds: int, tokens_of) -> float:
    return sum(rule.judge(world.question(0, (tokens_of(index),), 10 * index)).accepted for index in range(rounds)) / rounds


def test_random_tokens_are_accepted_once_in_the_vocabulary():
    """Verifiers that accept everything have gone unnoticed for months elsewhere."""
    size, rounds = 16, 6000
    world = World(*random_world(9, size).target_logits[None].repeat(2, 0), choice=Sampling(temperature=1.0, seed=2))
    tokens = np.random.default_rng(4).integers(0, size, rounds).tolist()
    share = accepted_share(EXACT, world, rounds, tokens.__getitem__)
    assert abs(share - 1 / size) < 4 * np.sqrt(1 / size / rounds)


def test_speculative_sampling_accepts_the_overlap_of_both_distributions():
    rounds = 4000
    share = accepted_share(
        SPECULATIVE, DRAWN_WORLD, rounds, lambda index: quantised_row.draw(DRAWN_WORLD.row(0), noise.key(12, 10 * index, Purpose.DRAFT))
    )
    overlap = sum(DRAWN_WORLD.overlap(0).values())
    assert abs(share - overlap) < 4 * np.sqrt(overlap * (1 - overlap) / rounds)
    assert 0.1 < overlap < 0.9
