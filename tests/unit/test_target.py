"""The target's forward: right beside transformers' own, and bitwise the same for a position whatever travels with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from airdraft.errors import InternalError, SettingsError
from cloud.cache import REACH_STEP, CacheShape, SlottedCache, reach
from cloud.seams import Block
from cloud.target import TransformersTarget
from tests.tiny_models import VOCABULARY, tiny_llama, tiny_qwen

TEXT = tuple(int(token) for token in np.random.default_rng(1).integers(0, VOCABULARY, 300))
LENGTH = 280  # crosses one edge between reaches


def logits_of(target: TransformersTarget, cuts: list[int], slot: int = 0, neighbours: int = 0) -> np.ndarray:
    """Feed TEXT[:LENGTH] in blocks of these lengths beside other sequences; all rows of logits [LENGTH, V]."""
    rows, position = [], 0
    for step, length in enumerate(cuts):
        blocks = [Block(slot, position, TEXT[position : position + length], length)]
        for other in range(neighbours):
            blocks.insert(other % 2, Block((slot + 1 + other) % target.slots, 3 * other, TEXT[9 : 10 + (step + other) % 7], 1))
        answers = dict(zip([block.slot for block in blocks], target.forward(blocks), strict=True))
        rows.append(answers[slot].logits)
        position += length
    return np.concatenate(rows)


def cut_into(length: int) -> list[int]:
    return [length] * (LENGTH // length) + ([LENGTH % length] if LENGTH % length else [])


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request):
    return request.param


@pytest.fixture(params=[tiny_llama, tiny_qwen], ids=["llama", "qwen2"])
def family(request):
    return request.param


def test_rows_are_bitwise_the_same_over_blocks_alignments_and_neighbours(family, dtype):
    target = TransformersTarget(family(dtype=dtype), slots=9, capacity=512)
    whole = logits_of(target, [LENGTH])
    for length in (1, 2, 3, 5, 8, 13, 64):
        for neighbours in (0, 1, 7):
            again = logits_of(target, cut_into(length), slot=length % 9, neighbours=neighbours)
            assert np.array_equal(again, whole), f"blocks of {length} beside {neighbours} others"


def test_rows_equal_those_of_transformers_in_float32(family):
    reference = family()
    with torch.inference_mode():
        expected = reference(torch.tensor([TEXT[:LENGTH]])).logits[0].numpy()
    found = logits_of(TransformersTarget(family(), slots=2, capacity=512), cut_into(8))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.array_equal(found.argmax(-1), expected.argmax(-1))


def test_unpacked_weights_give_the_same_text(family):
    packed = logits_of(TransformersTarget(family(), slots=1, capacity=512), [LENGTH])
    plain = logits_of(TransformersTarget(family(), slots=1, capacity=512, pack=False), [LENGTH])
    assert np.array_equal(packed.argmax(-1), plain.argmax(-1))


def test_rolling_back_is_forgetting(dtype):
    target = TransformersTarget(tiny_llama(dtype=dtype), slots=2, capacity=512)
    whole = logits_of(target, [LENGTH])
    target.forward([Block(0, 40, (7,) * 30, 1)])  # a draft that will be rejected overwrites positions 40 to 69
    again = target.forward([Block(0, 40, TEXT[40:48], 8)])[0].logits
    assert np.array_equal(again, whole[40:48])


def test_a_used_slot_gives_the_same_rows_as_a_fresh_one(dtype):
    target = TransformersTarget(tiny_llama(dtype=dtype), slots=1, capacity=512)
    whole = logits_of(target, [LENGTH])
    target.forward([Block(0, 0, tuple(reversed(TEXT)), 0)])
    assert np.array_equal(logits_of(target, cut_into(64)), whole)


def test_rows_come_back_for_the_last_tokens_only_and_in_the_order_of_the_blocks():
    target = TransformersTarget(tiny_llama(), slots=3, capacity=256)
    rows = target.forward([Block(2, 0, TEXT[:10], 0), Block(0, 0, TEXT[:10], 3), Block(1, 0, TEXT[:9], 1)])
    assert [row.logits.shape for row in rows] == [(0, VOCABULARY), (3, VOCABULARY), (1, VOCABULARY)]
    assert np.array_equal(rows[1].logits[1], rows[2].logits[0])
    assert rows[1].hidden_predicting.shape == (3, 32)
    assert np.array_equal(rows[1].hidden_after, rows[1].hidden_predicting[1:])


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [Block(0, 0, (), 0)],
        [Block(2, 0, (1,), 1)],
        [Block(0, 250, (1,) * 7, 1)],
        [Block(0, -1, (1,), 1)],
        [Block(0, 0, (1,), 2)],
        [Block(0, 0, (VOCABULARY,), 1)],
        [Block(0, 0, (-1,), 1)],
        [Block(0, 0, (1,), 1), Block(0, 1, (1,), 1)],
    ],
)
def test_a_block_that_does_not_fit_is_refused_in_words(blocks):
    target = TransformersTarget(tiny_llama(), slots=2, capacity=256)
    with pytest.raises(InternalError, match=r"forward of|block|slot"):
        target.forward(blocks)


def test_a_model_with_sliding_windows_is_refused():
    model = tiny_llama()
    model.config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(SettingsError, match="sliding"):
        TransformersTarget(model, slots=1, capacity=64)


def test_a_context_beyond_the_model_is_refused_with_the_length_that_works():
    with pytest.raises(SettingsError, match="2048 or less"):
        TransformersTarget(tiny_llama(), slots=1, capacity=4096)


def test_the_reach_depends_on_the_position_alone():
    assert [reach(position) for position in (0, REACH_STEP - 1, REACH_STEP, 5 * REACH_STEP)] == [256, 256, 512, 6 * 256]


def test_a_cache_takes_the_memory_its_shape_says():
    cache = SlottedCache(CacheShape(layers=2, slots=3, capacity=300, key_value_heads=2, head_width=8), torch.bfloat16, torch.device("cpu"))
    assert cache.bytes == 2 * 2 * 3 * 512 * 2 * 8 * 2
