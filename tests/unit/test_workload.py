"""Which prompts which device answers, and when."""

import math
from collections import Counter
from itertools import pairwise

import pytest

from airdraft.errors import SettingsError
from orchestration.workload import Prompt, WorkloadSettings, plan, select

PROMPTS = tuple(Prompt(f"p{number}", "qa" if number < 6 else "math", (number,)) for number in range(9))


def settings(**changes):
    return WorkloadSettings.parse({"recording": ["a"], **changes})


def test_all_prompts_are_taken_unless_tasks_or_a_count_are_given():
    assert select(PROMPTS, settings()) == tuple(range(9))
    assert select(PROMPTS, settings(tasks=["math"])) == (6, 7, 8)
    assert select(PROMPTS, settings(count=20)) == tuple(range(9))


def test_a_count_is_shared_out_over_the_tasks():
    assert select(PROMPTS, settings(count=4)) == (0, 1, 6, 7)
    assert select(PROMPTS, settings(count=8)) == (0, 1, 2, 3, 4, 6, 7, 8)


def test_an_unknown_task_is_refused_with_the_nearest_one():
    with pytest.raises(SettingsError, match="Did you mean 'math'"):
        select(PROMPTS, settings(tasks=["maths"]))
    with pytest.raises(SettingsError, match="no prompts"):
        select((), settings())


def test_one_device_answers_every_prompt_once_in_order():
    (turns,) = plan(settings(), devices=1, prompts=3, seed=0)
    assert [turn.prompt for turn in turns] == [0, 1, 2]
    assert all(turn.earliest_s == 0 and turn.pause_s == 0 for turn in turns)


def test_a_fleet_shares_the_prompts_out_round_and_round():
    turns = plan(settings(responses=2), devices=5, prompts=3, seed=0)
    assert [[turn.prompt for turn in each] for each in turns] == [[0, 2], [1, 0], [2, 1], [0, 2], [1, 0]]
    assert Counter(turn.prompt for each in plan(settings(), 300, 3, 0) for turn in each) == {0: 100, 1: 100, 2: 100}


def test_paced_responses_of_one_device_start_at_fixed_times():
    (turns,) = plan(settings(arrivals="every", every_s=10), devices=1, prompts=3, seed=0)
    assert [turn.earliest_s for turn in turns] == [0, 10, 20]
    fleet = plan(settings(arrivals="every", every_s=10), devices=3, prompts=3, seed=0)
    assert [turns[0].earliest_s for turns in fleet] == [0, 10, 20]


def test_poisson_arrivals_have_the_rate_that_was_asked_for():
    count, rate = 4000, 5.0
    starts = [turns[0].earliest_s for turns in plan(settings(arrivals="poisson", arrivals_per_s=rate), count, 3, seed=1)]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert starts == sorted(starts)
    assert abs(mean * rate - 1) < 4 / math.sqrt(count)  # four standard errors, with a fixed seed
    assert abs(deviation * rate - 1) < 0.1  # an exponential's deviation is its mean


def test_think_times_are_exponential_and_come_between_responses():
    turns = plan(settings(think_s=3, responses=200), devices=10, prompts=3, seed=1)
    assert all(each[0].pause_s == 0 for each in turns)
    pauses = [turn.pause_s for each in turns for turn in each[1:]]
    assert abs(sum(pauses) / len(pauses) / 3 - 1) < 4 / math.sqrt(len(pauses))


def test_the_seed_decides_and_a_devices_own_plan_does_not_depend_on_the_others():
    one = settings(arrivals="poisson", arrivals_per_s=2, think_s=1, responses=3)
    few, many, other = (plan(one, devices, 30, seed) for devices, seed in ((4, 1), (40, 1), (4, 2)))
    assert few != other
    assert [[(turn.earliest_s, turn.pause_s) for turn in each] for each in few] == [
        [(turn.earliest_s, turn.pause_s) for turn in each] for each in many[:4]
    ]
