"""The table of rules: built by name, refused in words, the same on both sides; and what each rule refuses and computes."""

import numpy as np
import pytest

import cloud.acceptance
from airdraft import quantised_row, rules, sampling
from airdraft.errors import InternalError, MalformedMessageError, TokenOutOfRangeError, UnknownRuleError
from airdraft.messages import QuantisedRow, RuleChoice
from airdraft.settings import Sampling
from cloud.seams import Judgement, Question, Rows

VOCABULARY = 8
EXACT, SPECULATIVE = RuleChoice("exact"), RuleChoice("speculative_sampling")
WARM = Sampling(temperature=1, seed=3)


def question(tokens: tuple[int, ...], choice: Sampling = WARM, seed: int = 0, draft_rows: tuple[QuantisedRow, ...] = ()) -> Question:
    logits = np.random.default_rng(seed).normal(0, 2, (len(tokens) + 1, VOCABULARY)).astype(np.float32)
    rows = Rows(logits, np.zeros((len(tokens) + 1, 4), dtype=np.float32))
    return Question(position=10, tokens=tokens, rows=rows, sampling=choice, channel=None, draft_rows=draft_rows)


def certain(tokens: tuple[int, ...]) -> tuple[QuantisedRow, ...]:
    return tuple(quantised_row.certain(token) for token in tokens)


def own_tokens(asked: Question) -> list[int]:
    return [sampling.token(row, asked.sampling, asked.position + index) for index, row in enumerate(asked.rows.logits)]


def test_the_cloud_s_table_is_the_agreed_one():
    assert set(cloud.acceptance.names()) == set(rules.RULES)
    for name, traits in rules.RULES.items():
        rule = cloud.acceptance.build(RuleChoice(name))
        assert (rule.name, rule.needs_rows, rule.lossless) == (name, traits.needs_rows, traits.lossless)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (RuleChoice("exakt"), "Did you mean 'exact'"),
        (RuleChoice("exact", (("row_width", 4),)), "takes none"),
        (RuleChoice("speculative_sampling", (("row_with", 4),)), "Did you mean 'row_width'"),
        (RuleChoice("speculative_sampling", (("row_width", 0),)), "between 1 and 256"),
        (RuleChoice("speculative_sampling", (("row_width", 257),)), "between 1 and 256"),
        (RuleChoice("speculative_sampling", (("row_width", 2.5),)), "whole number"),
        (RuleChoice("speculative_sampling", (("row_width", float("nan")),)), "row_width = nan"),
        (RuleChoice("speculative_sampling", (("row_width", float("inf")),)), "row_width = inf"),
        (RuleChoice("speculative_sampling", (("row_width", 3), ("row_width", 4))), "2 times"),
    ],
)
def test_a_choice_that_cannot_be_built_is_refused_in_words(choice, words):
    with pytest.raises(UnknownRuleError, match=words):
        cloud.acceptance.build(choice)


def test_the_device_reads_a_rule_s_width_and_defaults():
    assert rules.row_width(EXACT) == 0
    assert rules.row_width(SPECULATIVE) == 16
    assert rules.row_width(RuleChoice("speculative_sampling", (("row_width", 5.0),))) == 5
    assert rules.parameters(SPECULATIVE) == {"row_width": 16}


def test_exact_accepts_the_target_s_own_tokens_and_adds_the_next():
    own = own_tokens(question((0, 0, 0)))
    judged = cloud.acceptance.build(EXACT).judge(question(tuple(own[:3])))
    assert judged == Judgement(3, own[3])


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_exact_stops_at_the_first_difference_and_computes_no_further(wrong, monkeypatch):
    own = own_tokens(question((0, 0, 0)))
    tokens = tuple((token + 1) % VOCABULARY if index == wrong else token for index, token in enumerate(own[:3]))
    positions = []
    draw = sampling.token
    monkeypatch.setattr(sampling, "token", lambda row, choice, position: (positions.append(position), draw(row, choice, position))[1])
    assert cloud.acceptance.build(EXACT).judge(question(tokens)) == Judgement(wrong, own[wrong])
    assert positions == [10 + index for index in range(wrong + 1)]


@pytest.mark.parametrize("choice", [EXACT, SPECULATIVE])
def test_an_empty_draft_brings_one_token(choice):
    judged = cloud.acceptance.build(choice).judge(question(()))
    assert judged.accepted == 0 and 0 <= judged.token < VOCABULARY


def test_speculative_sampling_at_temperature_zero_is_exact():
    rule, exact = cloud.acceptance.build(SPECULATIVE), cloud.acceptance.build(EXACT)
    wide = QuantisedRow(tuple(range(VOCABULARY)), (512,) * VOCABULARY)
    for seed in range(20):
        own = own_tokens(question((0, 0), Sampling(), seed))
        for tokens in ((own[0], own[1]), (own[0], (own[1] + 1) % VOCABULARY), ((own[0] + 3) % VOCABULARY, own[1])):
            expected = exact.judge(question(tokens, Sampling(), seed))
            assert rule.judge(question(tokens, Sampling(), seed, certain(tokens))) == expected
            assert rule.judge(question(tokens, Sampling(), seed, (wide, wide))) == expected


def test_a_replay_of_speculative_sampling_gives_the_same_judgement():
    rule = cloud.acceptance.build(SPECULATIVE)
    tokens = (1, 5, 2)
    judgements = [rule.judge(question(tokens, WARM, seed, certain(tokens))) for seed in range(50)]
    again = cloud.acceptance.build(SPECULATIVE)
    assert judgements == [again.judge(question(tokens, WARM, seed, certain(tokens))) for seed in range(50)]
    assert len({judged.accepted for judged in judgements}) > 1


def test_a_residual_that_vanished_by_rounding_falls_back_to_the_target(monkeypatch):
    rule = cloud.acceptance.build(SPECULATIVE)
    monkeypatch.setattr(rule, "_accepts", lambda *_: False)
    logits = np.zeros((2, 2), dtype=np.float32)
    same = QuantisedRow((0, 1), (2048, 2048))
    asked = Question(0, (0,), Rows(logits, logits), WARM, None, (same,))
    assert rule.judge(asked).token in (0, 1)


@pytest.mark.parametrize("choice", [EXACT, SPECULATIVE])
@pytest.mark.parametrize("token", [-1, VOCABULARY, 2**40])
def test_a_token_outside_the_vocabulary_is_refused(choice, token):
    with pytest.raises(TokenOutOfRangeError, match=str(token)):
        cloud.acceptance.build(choice).judge(question((0, token), draft_rows=certain((0, token))))


@pytest.mark.parametrize("choice", [EXACT, SPECULATIVE])
def test_logits_that_do_not_fit_the_draft_are_our_own_fault(choice):
    asked = question((1, 2), draft_rows=certain((1, 2)))
    short = Question(asked.position, asked.tokens, Rows(asked.rows.logits[:2], asked.rows.hidden), WARM, None, asked.draft_rows)
    with pytest.raises(InternalError, match="one row more"):
        cloud.acceptance.build(choice).judge(short)


@pytest.mark.parametrize(
    ("draft_rows", "error"),
    [
        ((), MalformedMessageError),
        (certain((1,)), MalformedMessageError),
        (certain((1, 3)), MalformedMessageError),
        ((quantised_row.certain(1), QuantisedRow((2,), (4095,))), MalformedMessageError),
        ((quantised_row.certain(1), QuantisedRow((2, 3, 4), (4000, 90, 6))), MalformedMessageError),
        ((quantised_row.certain(1), QuantisedRow((2, 8), (4000, 96))), TokenOutOfRangeError),
    ],
    ids=["none", "too few", "another token's", "wrong sum", "too wide", "out of range"],
)
def test_rows_that_do_not_fit_are_refused_before_anything_is_judged(draft_rows, error, monkeypatch):
    monkeypatch.setattr(sampling, "warped", lambda *_: pytest.fail("judged before it was checked"))
    rule = cloud.acceptance.build(RuleChoice("speculative_sampling", (("row_width", 2),)))
    with pytest.raises(error):
        rule.judge(question((1, 2), draft_rows=draft_rows))


def test_judgements_are_the_golden_ones():
    """Every verifier must judge alike, or a restart elsewhere would change the text."""
    rule, tokens = cloud.acceptance.build(SPECULATIVE), (3, 4)
    wide = QuantisedRow(tuple(range(VOCABULARY)), (512,) * VOCABULARY)
    logits = np.arange(3 * VOCABULARY, dtype=np.float32).reshape(3, VOCABULARY) / 3
    rows = Rows(logits, logits)
    judged = [rule.judge(Question(10, tokens, rows, Sampling(temperature=1, seed=seed), None, (wide, wide))) for seed in range(12)]
    assert [(judgement.accepted, judgement.token) for judgement in judged] == [
        (1, 7), (0, 7), (0, 7), (2, 3), (2, 4), (0, 5), (2, 4), (2, 5), (0, 6), (2, 6), (1, 6), (2, 7),
    ]  # fmt: skip
