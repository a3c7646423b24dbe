"""The replaying target and drafter: they keep a live one's lengths, and refuse what was not recorded."""

import random
from dataclasses import replace

import pytest

from airdraft.errors import InternalError, SettingsError
from airdraft.messages import Finish
from airdraft.settings import Sampling
from cloud.acceptance.exact import Exact
from cloud.acceptance.speculative_sampling import SpeculativeSampling
from cloud.seams import Block, Question
from edge.drafters.causal_model import CausalModel
from orchestration.recording.recording import Recording
from orchestration.recording.replay import AFTER_THE_END, RecordedDrafter, RecordedTarget, Repertoire
from tests.recorded_pair import GREEDY, SEEDED, frequent_token, recorded
from tests.tiny_models import tiny_llama
from tests.tiny_pair import VOCABULARY


@pytest.fixture
def repertoire():
    return Repertoire([recorded()])


@pytest.fixture
def target(repertoire):
    return RecordedTarget(repertoire, slots=3, capacity=512)


@pytest.fixture
def drafter(repertoire):
    return RecordedDrafter(repertoire)


ENTRIES = range(3)


def judged(target, entry, drafted, length=0, sampling=GREEDY, slot=0):
    """What the exact rule makes of a draft after `length` response tokens, the slot fed from the start."""
    position = len(entry.prompt) + length
    rows = target.forward([Block(slot, 0, (*entry.text[:position], *drafted), len(drafted) + 1)])[0]
    judgement = Exact().judge(Question(position, tuple(drafted), rows, sampling, None, ()))
    return judgement.accepted, judgement.token


# --- the target


@pytest.mark.parametrize("number", ENTRIES)
def test_target_says_its_recorded_tokens_however_much_is_right(target, number):
    entry = recorded().entries[number]
    wrong = (entry.response[7] + 1) % VOCABULARY
    assert judged(target, entry, ()) == (0, entry.response[0])
    assert judged(target, entry, entry.response[5:9], 5) == (4, entry.response[9])
    assert judged(target, entry, (*entry.response[5:7], wrong, 3), 5) == (2, entry.response[7])


def test_pieces_of_a_prompt_and_later_drafts_go_into_the_same_slot(target):
    entry = recorded().entries[0]
    first = len(entry.prompt)
    target.forward([Block(1, 0, entry.prompt[:4], 0), Block(2, 0, (9, 9), 0)])
    target.forward([Block(1, 4, entry.prompt[4:-1], 0)])
    wrong = (entry.response[1] + 1) % VOCABULARY
    rows = target.forward([Block(1, first - 1, (entry.prompt[-1], entry.response[0], wrong), 3)])[0]
    assert [rows.token(index, GREEDY, first + index) for index in range(2)] == list(entry.response[:2])
    rows = target.forward([Block(1, first + 1, (entry.response[1],), 1)])[0]
    assert rows.token(0, GREEDY, first + 2) == entry.response[2]


def test_a_slot_changes_hands_with_the_prefix_that_two_prompts_share(target):
    one, other = recorded().entries[:2]
    shared = next(place for place, pair in enumerate(zip(one.prompt, other.prompt, strict=False)) if pair[0] != pair[1])
    assert shared > 0
    judged(target, one, one.response[:4])
    rows = target.forward([Block(0, shared, other.prompt[shared:], 1)])[0]
    assert rows.token(0, GREEDY, len(other.prompt)) == other.response[0]


def test_what_follows_text_that_is_not_the_targets_was_not_recorded(target):
    entry = recorded().entries[0]
    wrong = (entry.response[0] + 1) % VOCABULARY
    rows = target.forward([Block(0, 0, (*entry.prompt, wrong), 2)])[0]
    assert rows.token(0, GREEDY, len(entry.prompt)) == entry.response[0]
    with pytest.raises(SettingsError, match="not its own"):
        rows.token(1, GREEDY, len(entry.prompt) + 1)


def test_the_end_of_the_record_is_not_made_up(target):
    entry = recorded().entries[0]
    assert entry.finish is Finish.LENGTH
    with pytest.raises(SettingsError, match="fewer new tokens"):
        judged(target, entry, entry.response)


def test_the_row_after_a_stop_token_is_asked_for_and_means_nothing():
    recording = recorded(GREEDY, (frequent_token(),))
    entry = next(entry for entry in recording.entries if entry.finish is Finish.STOP_TOKEN)
    assert judged(RecordedTarget(Repertoire([recording]), 1, 512), entry, entry.response) == (len(entry.response), AFTER_THE_END)


def test_target_refuses_what_it_cannot_answer(target):
    entry = recorded().entries[0]
    with pytest.raises(SettingsError, match="no recorded prompt"):
        judged(target, replace(entry, prompt=(1, 2, 3)), ())
    with pytest.raises(SettingsError, match="recorded sampling"):
        judged(target, entry, (), sampling=Sampling(temperature=0.5))
    assert judged(target, entry, (), sampling=Sampling(seed=5)) == (0, entry.response[0])  # at temperature 0 the seed is nothing
    with pytest.raises(InternalError, match="slot 1 holds 0"):
        target.forward([Block(1, 3, (1,), 1)])
    with pytest.raises(InternalError, match="of 512"):
        target.forward([Block(1, 0, (1,) * 513, 0)])


def test_a_rule_that_reads_logits_finds_none(target):
    entry = recorded().entries[0]
    rows = target.forward([Block(0, 0, entry.prompt, 1)])[0]
    with pytest.raises(IndexError):
        SpeculativeSampling(4).judge(Question(len(entry.prompt), (), rows, GREEDY, None, ()))


def test_recordings_are_replayed_together_only_when_they_are_of_one_kind():
    with pytest.raises(SettingsError, match="sampling"):
        Repertoire([recorded(), recorded(SEEDED)])
    with pytest.raises(SettingsError, match="at least one"):
        Repertoire([])
    halves = [Recording(recorded().header, recorded().entries[part]) for part in (slice(6), slice(6, None))]
    both = RecordedTarget(Repertoire(halves), 2, 512)
    for entry in (recorded().entries[0], recorded().entries[-1]):
        assert judged(both, entry, ()) == (0, entry.response[0])


# --- the drafter


@pytest.mark.parametrize("number", ENTRIES)
def test_drafter_proposes_what_was_recorded_from_wherever_it_stands(drafter, number):
    entry = recorded().entries[number]
    assert 0 in recorded().entries[0].misses and not {4, 5, 6} & {*recorded().entries[0].misses}  # a miss at once, and a run
    for start in (0, 4, 9):
        drafter.begin(recorded().contract(entry), False)
        drafter.extend(entry.response[:start])
        expected = entry.draft_from(len(entry.prompt) + start, 8)
        steps = [drafter.step() for _ in range(len(expected))]
        assert [step.token for step in steps] == expected.tokens.tolist()
        assert [step.certainty for step in steps] == [expected.certainty(row) for row in range(len(expected))]
        assert [step.position for step in steps] == [len(entry.prompt) + start + row for row in range(len(expected))]
        drafter.roll_back(len(entry.prompt) + start + 1)
        assert [drafter.step() for _ in range(len(expected) - 1)] == steps[1:]
    assert drafter.unanswered == 0


def test_drafter_has_the_lengths_and_the_pending_tokens_of_a_live_one(drafter):
    live, walk = CausalModel(tiny_llama(vocabulary=VOCABULARY)), random.Random(5)
    for entry in (*recorded().entries[:4], recorded().entries[2]):
        agreed = recorded().contract(entry)
        for each in (live, drafter):
            each.begin(agreed, False)
        done = 0
        while done < len(entry.response) - 9:
            assert (live.length, live.pending) == (drafter.length, drafter.pending)
            drafted = [step for step in (drafter.step() for _ in range(walk.randrange(6))) if step]
            for step in drafted:  # another model's proposals, fed as this one's would have been
                live.step()
                live.roll_back(step.position)
                live.extend((step.token,))
                live._cached = live.length - 1
            kept = next((place for place, step in enumerate(drafted) if step.token != entry.text[step.position]), len(drafted))
            for each in (live, drafter):
                if kept < len(drafted):
                    each.roll_back(len(entry.prompt) + done + kept)
                each.extend(entry.response[done + kept : done + kept + 1])
            done += kept + 1


def test_drafter_has_nothing_to_say_beyond_the_record_and_counts_that(drafter):
    entry = next(entry for entry in recorded().entries if entry.misses and entry.misses[0] < 20)
    drafter.begin(recorded().contract(entry), False)
    drafter.extend(entry.response[: entry.misses[0]])
    drafted = 0
    while drafter.step() is not None:
        drafted += 1
    assert drafted == recorded().header.draft_length and drafter.unanswered == 1
    drafter.roll_back(len(entry.prompt) + entry.misses[0])
    drafter.extend([entry.response[entry.misses[0]]])
    assert drafter.step() is not None


def test_drafter_does_not_go_on_from_text_that_nobody_recorded(drafter):
    entry = recorded().entries[0]
    drafter.begin(recorded().contract(entry), False)
    proposed = entry.draft_from(len(entry.prompt), 1).tokens[0]
    foreign = next(token for token in range(VOCABULARY) if token not in (proposed, entry.response[0]))
    drafter.extend([foreign])
    assert drafter.step() is None and drafter.unanswered == 1
    drafter.roll_back(len(entry.prompt))
    assert drafter.step() is not None


def test_drafter_refuses_contracts_that_were_not_recorded(drafter):
    agreed = recorded().contract(recorded().entries[0])
    for change, match in (
        ({"prompt": (1, 2)}, "not recorded"),
        ({"sampling": Sampling(temperature=1.0)}, "recorded sampling"),
        ({"max_new_tokens": 25}, "up to 24"),
        ({"stop_tokens": (5,)}, "stop tokens"),
    ):
        with pytest.raises(SettingsError, match=match):
            drafter.begin(replace(agreed, **change), False)
    with pytest.raises(SettingsError, match="rows"):
        drafter.begin(agreed, True)
    with pytest.raises(InternalError, match="roll back"):
        drafter.roll_back(5)
