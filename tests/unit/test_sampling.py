"""The pruned draw equals the plain one, bit for bit; the warping equals a plain sort; what is no distribution is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from airdraft import noise, sampling
from airdraft.errors import InternalError
from airdraft.noise import Purpose
from airdraft.sampling import token, warped
from airdraft.settings import Sampling

QWEN_VOCABULARY = 151_936


def plain_survivors(logits: np.ndarray, choice: Sampling) -> np.ndarray:
    """By one full sort, in the way that the documentation states it."""
    order = np.lexsort((np.arange(logits.size), -logits))
    if choice.top_k:
        order = order[: choice.top_k]
    with np.errstate(over="ignore"):
        weights = np.exp((logits[order].astype(np.float64) - logits.max()) / choice.temperature)
    before = np.cumsum(weights) - weights
    if choice.top_p < 1:
        order = order[before < choice.top_p * weights.sum()]
    return np.sort(order)


def plain_token(logits: np.ndarray, choice: Sampling, position: int) -> int:
    """Every score, and the first of the highest."""
    if choice.temperature == 0:
        return int(np.argmax(logits))
    survivors = plain_survivors(logits, choice)
    bits = noise.bits(noise.key(choice.seed, position, Purpose.TARGET), survivors)
    with np.errstate(over="ignore"):
        gaps = (logits[survivors].astype(np.float64) - float(logits.max())) / choice.temperature
    return int(survivors[np.argmax(gaps + noise.gumbel(bits))])


def random_logits(shape: str, size: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    shapes = {
        "normal": lambda: generator.normal(0, 3, size),
        "flat": lambda: np.zeros(size),
        "few values": lambda: generator.integers(-2, 3, size),
        "peaked": lambda: np.where(np.arange(size) == size // 2, 25.0, generator.normal(0, 2, size)),
        "half on one": lambda: np.where(np.arange(size) == size // 2, np.log(size), 0.0),
        "huge": lambda: generator.normal(0, 1, size) * 1e38,
        "tiny": lambda: generator.normal(0, 1, size) * 1e-38,
        "shifted": lambda: generator.normal(0, 3, size) + 1e6,
    }
    return shapes[shape]().clip(-3e38, 3e38).astype(np.float32)


SHAPES = ("normal", "flat", "few values", "peaked", "half on one", "huge", "tiny", "shifted")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from(SHAPES),
    size=st.sampled_from([1, 2, 3, 64, 65, 500, 9000]),
    temperature=st.sampled_from([1e-300, 1e-40, 1e-6, 0.1, 0.7, 1.0, 1.3, 10.0, 100.0]),
    top_k=st.sampled_from([0, 0, 1, 2, 70, 100_000]),
    top_p=st.sampled_from([1.0, 1.0, 0.37, 0.953, 1e-9]),
    seed=st.integers(0, 2**64 - 1),
    position=st.integers(0, 10_000),
)
def test_the_pruned_draw_equals_the_plain_one(shape, size, temperature, top_k, top_p, seed, position):
    if shape in ("flat", "few values", "half on one", "huge") and top_p < 1:
        top_p = 0.5  # with equal weights the plain sum must not stand between two counts by rounding
        temperature = max(temperature, 1e-6)
    choice = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    logits = random_logits(shape, size, seed % 1000)
    assert token(logits, choice, position) == plain_token(logits, choice, position)


def test_the_pruned_draw_equals_the_plain_one_where_the_likeliest_token_often_loses():
    logits, choice = random_logits("half on one", 100, 0), Sampling(temperature=1, seed=1)
    drawn = [token(logits, choice, position) for position in range(500)]
    assert drawn == [plain_token(logits, choice, position) for position in range(500)]
    assert 200 < drawn.count(50) < 300


@pytest.mark.parametrize("temperature", [0.2, 1.0, 100.0])
@pytest.mark.parametrize("shape", ["normal", "flat", "peaked"])
def test_the_pruned_draw_equals_the_plain_one_over_a_large_vocabulary(shape, temperature):
    logits = random_logits(shape, QWEN_VOCABULARY, 1)
    choice = Sampling(temperature=temperature, seed=9)
    assert [token(logits, choice, position) for position in range(5)] == [plain_token(logits, choice, position) for position in range(5)]


@pytest.mark.parametrize("shape", ["normal", "flat", "peaked"])
def test_few_of_a_large_vocabulary_are_scored(shape, monkeypatch):
    scored = []
    gumbel = noise.gumbel
    monkeypatch.setattr(noise, "gumbel", lambda bits: (scored.append(bits.size), gumbel(bits))[1])
    logits = random_logits(shape, QWEN_VOCABULARY, 2)
    for position in range(20):
        token(logits, Sampling(temperature=1, seed=4), position)
    assert sum(scored) / 20 < 10


def test_equal_scores_go_to_the_lowest_id(monkeypatch):
    monkeypatch.setattr(noise, "gumbel", lambda bits: np.zeros(bits.size))
    assert token(np.array([1, 2, 2, 2], dtype=np.float32), Sampling(temperature=1), 0) == 1


@pytest.mark.parametrize("equal_bits", [0, 2**63, 2**64 - 1])
def test_equal_scores_among_many_go_to_the_lowest_id(equal_bits, monkeypatch):
    monkeypatch.setattr(noise, "vocabulary_bits", lambda key, size: np.full(size, equal_bits, dtype=np.uint64))
    logits = np.where(np.arange(1000) >= 700, 2, 1).astype(np.float32)
    assert token(logits, Sampling(temperature=1), 0) == 700


def test_extreme_noise_decides_between_extreme_logits(monkeypatch):
    def bits(key, size):
        drawn = np.zeros(size, dtype=np.uint64)
        drawn[5] = 2**64 - 1
        return drawn

    monkeypatch.setattr(noise, "vocabulary_bits", bits)
    logits = np.full(1000, -100, dtype=np.float32)
    logits[900] = 0
    for gap, winner in ((-48.8, 5), (-48.9, 900)):  # 48.86 lies between the lowest and the highest Gumbel value
        logits[5] = gap
        assert token(logits, Sampling(temperature=1), 0) == winner


def test_temperature_zero_is_argmax_and_reads_nothing_else():
    logits = np.array([0, 5, 5, 1], dtype=np.float32)
    assert token(logits, Sampling(temperature=0, top_k=3, top_p=0.1, seed=8), 3) == 1
    greedy = warped(logits, Sampling(temperature=0))
    assert greedy.tokens.tolist() == [1] and greedy.probabilities.tolist() == [1.0]


def test_a_token_depends_on_seed_and_position_only():
    logits = random_logits("normal", 500, 3)
    drawn = {(seed, position): token(logits, Sampling(temperature=1, seed=seed), position) for seed in range(8) for position in range(8)}
    assert drawn == {key: token(logits.copy(), Sampling(temperature=1, seed=key[0]), key[1]) for key in reversed(drawn)}
    assert len(set(drawn.values())) > 10


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_not_finite_are_refused(value, temperature):
    logits = np.zeros(100, dtype=np.float32)
    logits[50] = value
    for ask in (lambda: token(logits, Sampling(temperature=temperature), 0), lambda: warped(logits, Sampling(temperature=temperature))):
        with pytest.raises(InternalError, match="finite"):
            ask()


@pytest.mark.parametrize("logits", [np.zeros((1, 3), np.float32), np.zeros(0, np.float32), np.zeros(3, np.float64)])
def test_anything_but_one_row_of_float32_is_refused(logits):
    with pytest.raises(InternalError, match="one row"):
        token(logits, Sampling(), 0)


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.31])
@pytest.mark.parametrize("top_k", [0, 1, 50, 5000])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_the_warping_equals_a_plain_sort(temperature, top_k, top_p):
    choice = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    for size in (40, 3000):
        logits = random_logits("normal", size, size)
        result = warped(logits, choice)
        assert result.tokens.tolist() == plain_survivors(logits, choice).tolist()
        weights = np.exp((logits[result.tokens].astype(np.float64) - logits.max()) / temperature)
        np.testing.assert_allclose(result.probabilities, weights / weights.sum(), rtol=1e-12)


def test_ties_at_the_edge_of_top_k_go_to_the_lowest_ids():
    logits = np.array([1, 3, 2, 2, 2, 0], dtype=np.float32)
    assert warped(logits, Sampling(temperature=1, top_k=3)).tokens.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("top_p", "count"), [(0.5, 4), (0.51, 5), (0.125, 1), (0.126, 2), (1e-6, 1), (1.0, 8)])
def test_top_p_keeps_the_shortest_run_that_reaches_it(top_p, count):
    logits = np.zeros(8, dtype=np.float32)
    assert warped(logits, Sampling(temperature=1, top_p=top_p)).tokens.tolist() == list(range(count))


def test_top_p_counts_after_top_k():
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1])).astype(np.float32)
    assert warped(logits, Sampling(temperature=1, top_p=0.75)).tokens.tolist() == [0, 1, 2]
    assert warped(logits, Sampling(temperature=1, top_p=0.75, top_k=3)).tokens.tolist() == [0, 1]  # .7 / .9 reaches it


def test_the_warping_agrees_with_transformers():
    torch = pytest.importorskip("torch")
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = random_logits("normal", 3000, 5)
    scores = torch.tensor(logits)[None]
    for warper in (TemperatureLogitsWarper(0.8), TopKLogitsWarper(200), TopPLogitsWarper(0.9)):
        scores = warper(None, scores)
    expected = torch.softmax(scores.double(), dim=-1)[0].numpy()
    result = warped(logits, Sampling(temperature=0.8, top_k=200, top_p=0.9))
    assert result.tokens.tolist() == np.flatnonzero(expected).tolist()
    np.testing.assert_allclose(result.probabilities, expected[result.tokens], rtol=1e-5)


def test_the_probability_of_one_token_is_looked_up():
    result = warped(np.log(np.array([1, 2, 3, 4])).astype(np.float32), Sampling(temperature=1, top_k=2))
    assert [round(result.probability(id), 6) for id in range(5)] == [0, 0, round(3 / 7, 6), round(4 / 7, 6), 0]


def test_exp_is_as_good_as_the_library_s():
    values = -np.random.default_rng(1).exponential(40, 20_000).clip(0, 700)
    np.testing.assert_allclose(sampling._exponential(values), np.exp(values), rtol=1e-15)
    assert sampling._exponential(np.array([0.0]))[0] == 1.0


def test_a_draw_falls_into_shares_and_never_on_a_weight_of_zero():
    tokens, weights = np.array([4, 5, 6, 7]), np.array([0.0, 2.0, 2.0, 0.0])
    drawn = [sampling.draw(tokens, weights, uniform) for uniform in (0.0, 0.49, 0.5, 1 - 2.0**-53)]
    assert drawn == [5, 5, 6, 6]


def test_tokens_follow_the_warped_distribution():
    logits = np.array([0.3, -1.2, 1.9, 0.0, 0.9, -3.0, 1.1, 0.2], dtype=np.float32)
    choice = Sampling(temperature=0.8, seed=21)
    counts = np.bincount([token(logits, choice, position) for position in range(20_000)], minlength=8)
    assert stats.chisquare(counts, warped(logits, choice).probabilities * 20_000).pvalue > 0.01


def agreement(target: np.ndarray, draft: np.ndarray, seeds: tuple[int, int]) -> float:
    """How often the two draw the same token, over 2,000 positions."""
    first, second = (Sampling(temperature=1, seed=seed) for seed in seeds)
    return float(np.mean([token(target, first, position) == token(draft, second, position) for position in range(2000)]))


@pytest.mark.parametrize("case", range(6))
def test_two_models_that_share_the_noise_agree_as_often_as_promised(case):
    generator = np.random.default_rng(case)
    target = generator.normal(0, 1.5, 8).astype(np.float32)
    draft = (target + generator.normal(0, 0.4 + 0.2 * case, 8)).astype(np.float32)
    p, q = (warped(logits, Sampling(temperature=1)).probabilities for logits in (target, draft))
    variation = np.abs(p - q).sum() / 2
    promised = (1 - variation) / (1 + variation)  # Daliri, Musco, Suresh 2024, theorem 3
    expected = sum(1 / np.maximum(p / p[i], q / q[i]).sum() for i in range(8))  # both races are won by i
    margin = 4 * np.sqrt(expected * (1 - expected) / 2000)
    assert expected >= promised
    assert abs(agreement(target, draft, (6, 6)) - expected) < margin
    assert agreement(target, draft, (6, 7)) < promised - margin  # without shared noise the promise is broken
