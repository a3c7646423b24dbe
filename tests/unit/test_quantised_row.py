"""Rows are deterministic, sum to the scale, are drawn from exactly, and are refused in words when they are no distribution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airdraft import noise, quantised_row
from airdraft.errors import InternalError, MalformedMessageError, TokenOutOfRangeError
from airdraft.messages import QuantisedRow
from airdraft.noise import Purpose
from airdraft.quantised_row import SCALE, quantise
from airdraft.sampling import Warped, warped
from airdraft.settings import Sampling


def distribution(*probabilities: float) -> Warped:
    return Warped(np.arange(len(probabilities)), np.array(probabilities))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 400), st.sampled_from([1, 2, 16, 300, SCALE]), st.sampled_from([0.1, 1.0, 8.0]))
def test_a_row_is_a_valid_distribution_near_the_one_it_stands_for(seed, size, width, temperature):
    logits = np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)
    full = warped(logits, Sampling(temperature=temperature))
    row = quantise(full, width)
    quantised_row.validate(row, size, width)
    kept = np.sort(np.lexsort((np.arange(size), -full.probabilities))[:width])
    exact = dict(zip(kept.tolist(), (full.probabilities[kept] / full.probabilities[kept].sum() * SCALE).tolist(), strict=True))
    assert set(row.tokens) <= set(exact) and list(row.tokens) == sorted(row.tokens)
    weights = dict(zip(row.tokens, row.weights, strict=True))
    assert all(abs(weights.get(token, 0) - share) < 1 for token, share in exact.items())


def test_the_largest_remainders_are_rounded_up_and_equals_by_id():
    third = 1 / 3
    assert quantise(distribution(third, third, third), 3) == QuantisedRow((0, 1, 2), (1366, 1365, 1365))
    assert quantise(distribution(0.3, 0.3, 0.4), 3) == QuantisedRow((0, 1, 2), (1229, 1229, 1638))
    assert quantise(distribution(0.25, 0.25, 0.25, 0.25), 2) == QuantisedRow((0, 1), (2048, 2048))


def test_entries_that_round_to_nothing_are_dropped():
    assert quantise(distribution(1e-9, 1 - 1e-9), 2) == quantised_row.certain(1)


def test_a_row_at_temperature_zero_is_certain():
    assert quantise(warped(np.array([1, 4, 4], dtype=np.float32), Sampling()), 16) == quantised_row.certain(1)


@pytest.mark.parametrize("width", [0, -1, SCALE + 1])
def test_an_impossible_width_is_refused(width):
    with pytest.raises(InternalError, match="width"):
        quantise(distribution(1.0), width)


def test_draws_hit_every_token_by_exactly_its_weight():
    row = QuantisedRow((7, 3, 90), (1, 4000, 95))
    drawn = [quantised_row.draw(row, upper << 52) for upper in range(SCALE)]
    assert [drawn.count(token) for token in row.tokens] == list(row.weights)


def test_draws_are_a_function_of_the_key():
    row = quantise(distribution(0.2, 0.3, 0.5), 3)
    keys = [noise.key(1, position, Purpose.DRAFT) for position in range(300)]
    drawn = [quantised_row.draw(row, key) for key in keys]
    assert drawn == [quantised_row.draw(row, key) for key in keys]
    assert set(drawn) == {0, 1, 2}


def test_a_draw_from_weights_that_fall_short_is_refused():
    with pytest.raises(InternalError, match="4095"):
        quantised_row.draw(QuantisedRow((0,), (4095,)), 2**64 - 1)


def test_probabilities_are_exact():
    row = QuantisedRow((5, 2), (1, 4095))
    assert [quantised_row.probability(row, token) for token in (5, 2, 0)] == [1 / 4096, 4095 / 4096, 0.0]


@pytest.mark.parametrize(
    ("tokens", "weights", "error", "words"),
    [
        ((), (), MalformedMessageError, "0 tokens"),
        ((1, 2), (4096,), MalformedMessageError, "2 tokens and 1 weights"),
        ((1, 2, 3, 4, 5), (4092, 1, 1, 1, 1), MalformedMessageError, "5 tokens"),
        ((1, 2), (4096, 0), MalformedMessageError, "least is 0"),
        ((1, 2), (4097, -1), MalformedMessageError, "least is -1"),
        ((1, 2), (4000, 95), MalformedMessageError, "4095"),
        ((1, 1), (4000, 96), MalformedMessageError, "twice"),
        ((1, 10), (4000, 96), TokenOutOfRangeError, "0 to 9"),
        ((1, -1), (4000, 96), TokenOutOfRangeError, "0 to 9"),
    ],
)
def test_a_row_that_is_no_distribution_is_refused(tokens, weights, error, words):
    with pytest.raises(error, match=words):
        quantised_row.validate(QuantisedRow(tokens, weights), vocabulary_size=10, width=4)


def test_a_token_that_is_not_in_its_row_is_refused():
    with pytest.raises(MalformedMessageError, match="token 3"):
        quantised_row.validate_drawn(quantised_row.certain(2), 3)
