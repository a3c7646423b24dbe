"""The figures that stopping rules read."""

import numpy as np
import pytest

from edge.certainty import measure


def test_figures_are_those_of_the_softmax_before_warping():
    probabilities = np.array([0.125, 0.5, 0.25, 0.125])
    sure = measure(np.log(probabilities).astype(np.float32), 2)
    assert (sure.probability, sure.first, sure.second, sure.margin) == (0.25, 0.5, 0.25, 0.25)
    assert sure.entropy == pytest.approx(1.75 * np.log(2), rel=1e-3)


def test_adding_a_constant_to_the_logits_changes_nothing():
    logits = np.random.default_rng(1).standard_normal(200).astype(np.float32)
    assert measure(logits + np.float32(64), 3) == measure(logits, 3)


def test_certain_and_even_rows():
    certain = measure(np.array([0, 500, 0], dtype=np.float32), 1)
    assert (certain.probability, certain.entropy, certain.first, certain.second) == (1, 0, 1, 0)
    even = measure(np.zeros(1024, dtype=np.float32), 7)
    assert even.probability == even.first == even.second == 2**-10 and even.entropy == float(np.float16(np.log(1024)))
    assert measure(np.zeros(1, dtype=np.float32), 0).second == 0


def test_figures_are_float16_values_and_the_logits_stay_as_they_were():
    logits = np.random.default_rng(2).standard_normal(1000).astype(np.float32)
    before = logits.copy()
    sure = measure(logits, 5)
    assert all(float(np.float16(value)) == value for value in (sure.probability, sure.entropy, sure.first, sure.second))
    assert np.array_equal(logits, before)
