"""What every drafter must do, whatever it drafts with."""

import random

import pytest

from airdraft import rules
from airdraft.errors import InternalError, SettingsError
from airdraft.messages import Contract, RuleChoice
from airdraft.quantised_row import validate
from airdraft.settings import Sampling
from edge.drafters import DRAFTERS, build
from edge.seams import Drafter
from edge.settings import DrafterSettings
from tests.tiny_models import VOCABULARY, tiny_llama

PROMPT = (5, 6, 7, 8, 5, 6, 7, 9, 5, 6, 7)
EXACT, ROWS = RuleChoice(), RuleChoice("speculative_sampling", (("row_width", 4),))


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


@pytest.fixture(params=sorted(DRAFTERS))
def drafter(request, model) -> Drafter:
    return build(DrafterSettings(kind=request.param), model)


def begin(drafter: Drafter, prompt=PROMPT, rule: RuleChoice = EXACT, temperature: float = 1.0) -> Drafter:
    contract = Contract(1, "", b"", VOCABULARY, tuple(prompt), Sampling(temperature=temperature, seed=3), rule)
    drafter.begin(contract, rules.traits(rule.name).needs_rows)
    return drafter


def propose(drafter: Drafter, count: int) -> list[int]:
    steps = [drafter.step() for _ in range(count)]
    return [step.token for step in steps if step is not None]


def test_steps_append_at_the_position_they_name(drafter):
    begin(drafter)
    for position in range(len(PROMPT), len(PROMPT) + 5):
        step = drafter.step()
        assert step is not None
        assert step.position == position and 0 <= step.token < VOCABULARY and step.row is None
        assert drafter.length == position + 1


def test_pending_is_what_a_step_costs_and_never_nothing(drafter):
    begin(drafter)
    assert drafter.pending >= 1
    drafter.step()
    assert drafter.pending == 1
    drafter.roll_back(drafter.length)
    assert drafter.pending == 1


def test_same_context_gives_the_same_proposals_however_it_came_about(drafter):
    begin(drafter)
    whole = propose(drafter, 6)
    drafter.roll_back(len(PROMPT) + 2)
    assert propose(drafter, 4) == whole[2:]
    drafter.roll_back(len(PROMPT))
    drafter.extend(whole[:3])
    assert propose(drafter, 3) == whole[3:]
    assert propose(begin(drafter), 6) == whole


def test_a_correction_takes_the_place_of_what_was_rolled_back(drafter):
    correction = (1, 2)
    begin(drafter, (*PROMPT, *correction))
    expected = propose(drafter, 4)
    begin(drafter)
    propose(drafter, 3)
    drafter.roll_back(len(PROMPT))
    drafter.extend(correction)
    assert propose(drafter, 4) == expected


def test_random_walks_end_in_the_same_proposals_as_a_fresh_start(drafter):
    walk = random.Random(4)
    begin(drafter)
    context = list(PROMPT)
    for _ in range(30):
        drafted = propose(drafter, walk.randrange(5))
        kept = walk.randrange(len(drafted) + 1)
        if kept < len(drafted):
            drafter.roll_back(len(context) + kept)
        correction = walk.randrange(VOCABULARY)
        drafter.extend([correction])
        context += [*drafted[:kept], correction]
        assert drafter.length == len(context)
    assert propose(drafter, 4) == propose(begin(drafter, context), 4)


def test_longer_conversation_keeps_nothing_of_the_abandoned_end(drafter):
    begin(drafter)
    propose(drafter, 5)
    longer = (*PROMPT[:-1], 3, 4, 5, 6)
    continued = propose(begin(drafter, longer), 4)
    assert continued == propose(begin(begin(drafter, (9, 9)), longer), 4)


def test_rows_are_valid_and_hold_the_token_when_the_rule_needs_them(drafter):
    begin(drafter, rule=ROWS)
    for _ in range(5):
        step = drafter.step()
        assert step is not None and step.row is not None
        validate(step.row, VOCABULARY, 4)
        assert step.token in step.row.tokens


def test_rolling_back_further_than_there_is_context_is_a_fault(drafter):
    begin(drafter)
    with pytest.raises(InternalError, match="roll back"):
        drafter.roll_back(len(PROMPT) + 1)


def test_unknown_kind_and_missing_model_are_refused():
    with pytest.raises(SettingsError, match="Did you mean 'lookup'"):
        build(DrafterSettings(kind="lokup"))
    with pytest.raises(SettingsError, match="needs a loaded model"):
        build(DrafterSettings(kind="model"))
