"""In bfloat16, with real models: a position's logits are bitwise the same whatever travels with it, and so every way gives one text."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from airdraft.messages import Contract
from airdraft.packed_linear import pack_linears
from cloud.cache import REACH_STEP
from cloud.seams import Block
from cloud.target import TransformersTarget
from edge.drafters.causal_model import CausalModel
from edge.drafters.prompt_lookup import PromptLookup
from edge.seams import Drafter
from edge.session import Session
from tests.prompts import texts, tokens
from tests.references import reference, release
from tests.worlds import Served, World, drafter, require, respond

SMOLLM2, LARGE, SMALL = "smollm2-135m", "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
FIRST, LENGTH = REACH_STEP - 24, REACH_STEP + 24  # the positions compared: they cross an edge between reaches
at_length = [pytest.mark.models, pytest.mark.full, pytest.mark.timeout(7200)]


# --- logits


@functools.lru_cache(maxsize=1)
def target_of(model: str, dtype: str) -> TransformersTarget:
    return Served(model, dtype, slots=8, context=2 * REACH_STEP).target()


def text_of(model: str) -> tuple[int, ...]:
    """Real text, long enough for all positions."""
    return tuple(itertools.chain(*tokens(model, texts(20)) * 2))[:LENGTH]


def logits(target: TransformersTarget, text: Sequence[int], cuts: Sequence[int], others: int, slot: int) -> np.ndarray:
    """Rows [LENGTH - FIRST, V] of `text`, fed up to FIRST at once and from there in blocks of lengths `cuts`, beside so many sequences."""
    target.forward([Block(slot, 0, tuple(text[:FIRST]), 0)])
    rows, position = [], FIRST
    for step, length in enumerate(cuts):
        blocks = [Block(slot, position, tuple(text[position : position + length]), length)]
        for other in range(1, others + 1):
            company = tuple(text[step : step + 1 + (step + other) % 8])
            blocks.insert(other % 2, Block((slot + other) % target.slots, 31 * other, company, 1))
        answers = dict(zip([block.slot for block in blocks], target.forward(blocks), strict=True))
        rows.append(answers[slot].logits)
        position += length
    return np.concatenate(rows)


def cuts(length: int, first: int) -> list[int]:
    """Blocks of one length after one of length `first`, which shifts all their edges."""
    rest = LENGTH - FIRST - first
    return [first] * (first > 0) + [length] * (rest // length) + [rest % length] * (rest % length > 0)


@pytest.mark.parametrize(
    "model, dtype, lengths",
    [
        pytest.param(SMOLLM2, "bfloat16", (1, 8), marks=pytest.mark.models, id="smollm2-bfloat16-some"),
        pytest.param(SMOLLM2, "bfloat16", range(1, 9), marks=at_length, id="smollm2-bfloat16"),
        pytest.param(SMOLLM2, "float32", range(1, 9), marks=at_length, id="smollm2-float32"),
        pytest.param(LARGE, "bfloat16", range(1, 9), marks=at_length, id="qwen-1.5b-bfloat16"),
        pytest.param(SMALL, "bfloat16", range(1, 9), marks=at_length, id="qwen-0.5b-bfloat16"),
    ],
)
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_positions_logits_are_bitwise_the_same(model, dtype, lengths, threads):
    require(model)
    target, text = target_of(model, dtype), text_of(model)
    torch.set_num_threads(threads)
    try:
        whole = target.forward([Block(0, 0, text, LENGTH - FIRST)])[0].logits
        for length in lengths:
            for others, first in ((0, 0), (7, 3)) if len(lengths) < 8 else ((0, 0), (0, 3), (3, 5), (7, 3)):
                again = logits(target, text, cuts(length, first), others, slot=length % 8)
                assert np.array_equal(again, whole), f"blocks of {length} after one of {first}, beside {others} others"
    finally:
        torch.set_num_threads(1)


def test_company_that_matters_would_be_found():
    """The comparison above can fail: one other token in the text changes the rows after it, and none before."""
    target = Served(slots=8, context=2 * REACH_STEP).target()
    text = [index * 7 % 96 for index in range(LENGTH)]
    whole = logits(target, text, cuts(8, 3), 7, 0)
    changed = logits(target, [*text[: FIRST + 10], (text[FIRST + 10] + 1) % 96, *text[FIRST + 11 :]], cuts(8, 3), 7, 0)
    assert np.array_equal(whole[:10], changed[:10])
    assert not any(np.array_equal(one, other) for one, other in zip(whole[10:], changed[10:], strict=True))


# --- texts

Way = tuple[str, int]
WAYS: tuple[Way, ...] = (("stream", 0), ("sequential", 1), ("sequential", 4), ("sequential", 8))


@functools.cache
def _small_qwen() -> torch.nn.Module:
    model = Served(SMALL, "bfloat16").load()
    pack_linears(model)
    return model


def device(world: World, way: Way) -> Session:
    schedule, draft_length = way
    chosen: Drafter
    if schedule == "stream":
        chosen = PromptLookup()
    elif world.served.model == LARGE:
        chosen = CausalModel(_small_qwen())
    else:
        chosen = drafter("model", world.served)
    return world.session(chosen, draft_length, schedule)


async def alone(served: Served, contracts: list[Contract], way: Way) -> list[tuple[int, ...]]:
    async with World(served) as world:
        session = device(world, way)
        return [await respond(session, contract) for contract in contracts]


async def together_and_killed(served: Served, contracts: list[Contract], *ways: Way) -> list[tuple[int, ...]]:
    """Four at a time over two slots, and the verifier is killed once, when half of all tokens has been shown."""
    to_see = sum(contract.max_new_tokens for contract in contracts) // 2
    restarting: list[asyncio.Task] = []
    found: dict[Contract, tuple[int, ...]] = {}

    def seen(_: int) -> None:
        nonlocal to_see
        to_see -= 1
        if to_see == 0:
            world.kill()
            restarting.append(asyncio.create_task(world.restart()))

    async def lane(some: list[Contract], way: Way) -> None:
        session = device(world, way)
        for contract in some:
            found[contract] = await respond(session, contract, seen)

    async with World(served, "5g") as world:
        await asyncio.gather(*(lane(contracts[index::4], ways[index % len(ways)]) for index in range(4)))
        await asyncio.gather(*restarting)
    return [found[contract] for contract in contracts]


def expected(served: Served, prompts: int, temperature: float, length: int) -> dict[Contract, tuple[int, ...]]:
    """What the target says one token at a time."""
    asked = tokens(served.model, texts(prompts))
    contracts = [served.contract(prompt, temperature, seed, length) for seed, prompt in enumerate(asked)]
    found = {contract: reference(served, contract) for contract in contracts}
    release()
    return found


def serving_of(model: str) -> Served:
    require(model)
    return Served(model, "bfloat16", slots=2, context=2 * REACH_STEP)


@pytest.mark.models
async def test_four_ways_at_once_say_one_text_each_in_bfloat16():
    served = serving_of(SMOLLM2)
    responses = expected(served, 4, 1.0, 24)
    assert await together_and_killed(served, list(responses), *WAYS) == list(responses.values())


@pytest.mark.models
@pytest.mark.full
@pytest.mark.timeout(10_800)
@pytest.mark.parametrize(
    "run, model, temperature",
    [
        pytest.param(alone, SMOLLM2, 0.0, id="alone-smollm2-greedy"),
        pytest.param(alone, SMOLLM2, 1.0, id="alone-smollm2-drawn"),
        pytest.param(together_and_killed, SMOLLM2, 0.0, id="together-killed-smollm2-greedy"),
        pytest.param(together_and_killed, SMOLLM2, 1.0, id="together-killed-smollm2-drawn"),
        pytest.param(alone, LARGE, 1.0, id="alone-qwen-pair-drawn"),
        pytest.param(together_and_killed, LARGE, 0.0, id="together-killed-qwen-pair-greedy"),
    ],
)
async def test_twenty_prompts_have_one_text_each_in_bfloat16(run, model, temperature):
    served = serving_of(model)
    responses = expected(served, 20, temperature, 32)
    for way in WAYS:
        assert await run(served, list(responses), way) == list(responses.values()), way
