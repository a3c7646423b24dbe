"""The drafter that recordings are made with keeps every promise that drafters make, and drafts the same however its cache was filled."""

import inspect

import numpy as np
import pytest

from cloud.target import TransformersTarget
from orchestration.recording.invariant_drafter import InvariantDrafter
from tests.contract import test_drafter_contract as contract
from tests.tiny_models import tiny_llama

PROMISES = [
    promise
    for name, promise in vars(contract).items()
    if name.startswith("test_") and list(inspect.signature(promise).parameters) == ["drafter"]
]


@pytest.fixture
def drafter() -> InvariantDrafter:
    return InvariantDrafter(TransformersTarget(tiny_llama(), slots=1, capacity=512))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_promise(promise, drafter):
    assert len(PROMISES) >= 8
    promise(drafter)


def test_logits_are_bitwise_the_same_token_by_token_and_all_at_once(drafter):
    contract.begin(drafter)
    whole = contract.propose(drafter, 9)
    last = drafter.step()
    contract.begin(drafter, (9, 9))  # an abandoned context
    contract.begin(drafter, (*contract.PROMPT, *whole))
    again = drafter.step()
    assert np.array_equal(last.logits, again.logits)


def test_nothing_is_proposed_without_a_context_or_beyond_the_cache():
    drafter = InvariantDrafter(TransformersTarget(tiny_llama(), slots=1, capacity=12))
    assert drafter.step() is None
    contract.begin(drafter)
    assert len(contract.propose(drafter, 5)) == 1
