"""Real models in shards: the same text as whole, bitwise invariant in bfloat16, and no process that holds more than its part."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from airdraft import models
from airdraft.models import load_model
from cloud.cache import REACH_STEP
from cloud.shards import Membership, open_sharded_target
from cloud.target import TransformersTarget
from tests.prompts import texts, tokens
from tests.shard_world import WAIT_S, Workers, greedy, logits_of, peak_memory_bytes, processes, serving_of, sharded
from tests.worlds import require

SMOLLM2, QWEN = "smollm2-135m", "qwen2.5-coder-1.5b"
SLOW_S = 1800.0
MEMORY_BAR = 0.6  # of the peak of one process that holds the whole
at_length = [pytest.mark.models, pytest.mark.full, pytest.mark.timeout(7200)]
CONTEXT = 2 * REACH_STEP


def whole(serving, prompts, count, answers) -> None:
    """One process with all of the model: its texts and the most memory it had."""
    target = TransformersTarget(load_model(serving.folder, serving.model), serving.slots, serving.capacity)
    answers.put((greedy(target, prompts, count), peak_memory_bytes()))


def in_shards(serving, membership, prompts, count, answers) -> None:
    """Rank 0's process: the same."""
    target = open_sharded_target(serving, membership)
    answers.put((greedy(target, prompts, count), peak_memory_bytes()))
    target.close()


def answer_of(function, *arguments):
    answers = processes.Queue()
    process = processes.Process(target=function, args=(*arguments, answers), daemon=True)
    process.start()
    try:
        return answers.get(timeout=SLOW_S)
    finally:
        process.join(WAIT_S)
        process.kill()


@pytest.mark.parametrize(
    ("model", "shards", "prompts", "count", "memory_bar"),
    [
        pytest.param(SMOLLM2, 3, 4, 16, None, marks=pytest.mark.models),
        pytest.param(QWEN, 2, 10, 64, MEMORY_BAR, marks=at_length),
    ],
)
def test_shards_say_in_float32_what_the_whole_says_in_less_memory(tmp_path, model, shards, prompts, count, memory_bar):
    require(model)
    asked = tokens(model, texts(prompts))
    serving = serving_of(models.ensure(model), slots=prompts, capacity=CONTEXT)
    expected, whole_bytes = answer_of(whole, serving, asked, count)
    membership = Membership(0, shards, f"file://{tmp_path}/meeting", timeout_s=SLOW_S, start_timeout_s=SLOW_S, threads=1)
    workers = Workers(serving, membership)
    try:
        found, first_bytes = answer_of(in_shards, serving, membership, asked, count)
        peaks = [first_bytes, *(peak for _, _, peak in workers.endings())]
    finally:
        workers.kill()
    assert found == expected
    shares = [peak / whole_bytes for peak in peaks]
    print(f"{model}: whole {whole_bytes / 1e9:.2f} GB at its peak; shards {', '.join(f'{peak / 1e9:.2f} GB' for peak in peaks)}")
    assert memory_bar is None or max(shares) <= memory_bar, shares


@pytest.mark.parametrize(
    ("model", "shards", "company"),
    [
        pytest.param(SMOLLM2, 3, ((1, 0), (5, 7), (8, 1)), marks=pytest.mark.models),
        pytest.param(QWEN, 2, tuple(itertools.product(range(1, 9), (0, 1, 7))), marks=at_length),
    ],
)
def test_rows_are_bitwise_the_same_in_bfloat16(model, shards, company):
    require(model)
    text = tuple(itertools.chain(*tokens(model, texts(20)) * 2))[: REACH_STEP + 24]
    first = REACH_STEP - 24
    with sharded(serving_of(models.ensure(model), "bfloat16", slots=9, capacity=CONTEXT), shards, timeout_s=SLOW_S) as (target, _):
        expected = logits_of(target, text, len(text) - first, first=first)
        for length, neighbours in company:
            again = logits_of(target, text, length, first=first, slot=length % 9, neighbours=neighbours)
            assert np.array_equal(again, expected), f"blocks of {length} beside {neighbours} others"
