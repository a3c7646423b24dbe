"""A target over real processes: right beside one process, bitwise the same for a position whatever travels with it, and mortal in words."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from airdraft.errors import InternalError, ModelError, SettingsError, UnavailableError
from cloud.seams import Block
from cloud.shards import Meeting, Membership, ShardGroup, open_sharded_target
from cloud.target import TransformersTarget
from tests.shard_world import START_S, WAIT_S, Workers, greedy, logits_of, processes, serving_of, sharded
from tests.tiny_models import VOCABULARY, tiny_llama, tiny_qwen

TEXT = tuple(int(token) for token in np.random.default_rng(1).integers(0, VOCABULARY, 280))  # crosses one edge between reaches
COMPANY = ((1, 0, 230), (2, 7, 200), (3, 1, 190), (5, 7, 100), (8, 0, 0), (13, 1, 3), (64, 7, 0))  # tokens per block, others, the first
SHORT_S = 5.0  # a deadline that a test waits for


def three_heads() -> LlamaForCausalLM:
    """As SmolLM2: tied, and three key/value heads; with a vocabulary and a width that three does not divide."""
    config = LlamaConfig(
        vocab_size=97, hidden_size=24, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3,
        max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LlamaForCausalLM(config)
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {name: tmp_path_factory.mktemp(name) for name in ("llama", "qwen2", "three")}
    for name, model in (("llama", tiny_llama()), ("qwen2", tiny_qwen()), ("three", three_heads())):
        model.save_pretrained(made[name])
    return made


CASES = [("llama", 2, "float32"), ("llama", 2, "bfloat16"), ("qwen2", 2, "float32"), ("qwen2", 2, "bfloat16"), ("three", 3, "bfloat16")]


@pytest.mark.parametrize(("name", "shards", "dtype"), CASES)
def test_rows_are_bitwise_the_same_over_blocks_alignments_and_neighbours(folders, name, shards, dtype):
    with sharded(serving_of(folders[name], dtype), shards) as (target, workers):
        whole = logits_of(target, TEXT, len(TEXT))
        for length, neighbours, first in COMPANY:
            again = logits_of(target, TEXT, length, first=first, slot=length % 9, neighbours=neighbours)
            assert np.array_equal(again, whole[first:]), f"blocks of {length} beside {neighbours} others"
        target.close()
        assert [(rank, why) for rank, why, _ in workers.endings()] == [(rank, "told to") for rank in range(1, shards)]


@pytest.mark.parametrize(("name", "shards", "make"), [("llama", 2, tiny_llama), ("qwen2", 2, tiny_qwen), ("three", 3, three_heads)])
def test_text_in_float32_is_that_of_one_process_token_for_token(folders, name, shards, make):
    alone = TransformersTarget(make(), slots=9, capacity=512)
    prompts = [TEXT[start : start + 4 + start] for start in range(0, 40, 10)]
    with sharded(serving_of(folders[name]), shards) as (target, _):
        assert (target.slots, target.capacity, target.vocabulary_size) == (alone.slots, alone.capacity, alone.vocabulary_size)
        np.testing.assert_allclose(logits_of(target, TEXT, 8), logits_of(alone, TEXT, 8), atol=2e-3)
        assert greedy(target, prompts, 64) == greedy(alone, prompts, 64)


def test_rows_come_for_the_last_tokens_only_and_none_while_prefilling(folders):
    with sharded(serving_of(folders["llama"]), 2) as (target, _):
        rows = target.forward([Block(2, 0, TEXT[:10], 0), Block(0, 0, TEXT[:10], 3)])
        assert [row.logits.shape for row in rows] == [(0, VOCABULARY), (3, VOCABULARY)]
        assert rows[1].hidden.shape == (3, 32)
        assert target.forward([Block(2, 10, TEXT[10:20], 0)])[0].logits.shape == (0, VOCABULARY)


def test_a_block_that_does_not_fit_is_refused_and_harms_nobody(folders):
    with sharded(serving_of(folders["llama"]), 2) as (target, _):
        for unfit in (Block(99, 0, (1,), 1), Block(0, 510, (1,) * 7, 1), Block(0, 0, (VOCABULARY,), 1)):
            with pytest.raises(InternalError, match="block"):
                target.forward([unfit])
        assert target.failure is None
        assert np.isfinite(logits_of(target, TEXT, 64)).all()


def test_a_dead_shard_fails_the_forward_in_words_and_the_target_for_good(folders):
    with sharded(serving_of(folders["three"]), 3, timeout_s=10 * WAIT_S) as (target, workers):
        target.forward([Block(0, 0, (1, 2, 3), 1)])
        workers.processes[0].kill()
        workers.processes[0].join(WAIT_S)
        with pytest.raises(UnavailableError, match=r"sharded target has failed.*another shard has ended.*Start the group anew"):
            for _ in range(100):  # the first commands may still fit into the dead one's connection
                target.forward([Block(0, 3, (4,), 1)])
        with pytest.raises(UnavailableError, match="has failed"):
            target.forward([Block(0, 3, (4,), 1)])
        workers.processes[1].join(WAIT_S)
        assert workers.processes[1].exitcode == 0, "the other shard must not wait for its deadline"


def test_a_silent_shard_fails_the_forward_at_the_deadline(folders):
    with sharded(serving_of(folders["llama"]), 2, timeout_s=SHORT_S) as (target, workers):
        target.forward([Block(0, 0, (1, 2, 3), 1)])
        os.kill(workers.processes[0].pid, signal.SIGSTOP)
        with pytest.raises(UnavailableError, match=r"silent for 5 s"):
            target.forward([Block(0, 3, (4,), 1)])


def test_an_idle_target_notices_that_a_shard_is_gone(folders):
    with sharded(serving_of(folders["llama"]), 2, timeout_s=SHORT_S) as (target, workers):
        assert not target.wait_until_over(0)
        workers.processes[0].kill()
        assert target.wait_until_over(WAIT_S)
        assert "another shard has ended" in target.failure.message


def test_idle_shards_outlive_their_deadline_while_rank_0_lives(folders):
    with sharded(serving_of(folders["llama"]), 2, timeout_s=SHORT_S) as (target, workers):
        target.forward([Block(0, 0, (1, 2, 3), 1)])
        assert not target.wait_until_over(1.5 * SHORT_S)
        target.close()
        assert workers.endings()[0][1] == "told to"


def hold(serving, membership, opened) -> None:
    """Rank 0 in a process of its own: open, and be idle for ever."""
    target = open_sharded_target(serving, membership)
    opened.set()
    target.wait_until_over(WAIT_S)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_workers_end_when_rank_0_is_gone(folders, tmp_path, way):
    membership = Membership(0, 3, f"file://{tmp_path}/meeting", timeout_s=SHORT_S, start_timeout_s=START_S, threads=1)
    serving = serving_of(folders["three"])
    opened = processes.Event()
    first = processes.Process(target=hold, args=(serving, membership, opened), daemon=True)
    first.start()
    workers = Workers(serving, membership)
    try:
        assert opened.wait(WAIT_S)
        os.kill(first.pid, way)
        endings = workers.endings()
        assert [(rank, why) for rank, why, _ in endings] == [(1, "UnavailableError"), (2, "UnavailableError")]
        assert all("another shard has ended or was silent" in words for _, _, words in endings)
    finally:
        workers.kill()
        first.kill()
        first.join(WAIT_S)


def test_a_shard_that_cannot_load_is_named_with_its_reason(folders, tmp_path):
    (tmp_path / "config.json").write_bytes((folders["llama"] / "config.json").read_bytes())
    meeting = Meeting.host(start_timeout_s=WAIT_S)
    membership = Membership(0, 2, meeting.address, start_timeout_s=WAIT_S, threads=1)
    workers = Workers(serving_of(tmp_path), membership)
    try:
        with pytest.raises(ModelError, match=r"shard 1 of 2 could not start: .* holds no model.safetensors"):
            open_sharded_target(serving_of(folders["llama"]), membership, meeting)
        assert workers.endings()[0][1] == "CorruptModelError"
    finally:
        workers.kill()


def test_a_member_that_never_comes_is_waited_for_no_longer_than_said(tmp_path):
    membership = Membership(0, 2, f"file://{tmp_path}/meeting", start_timeout_s=0.2)
    with pytest.raises(UnavailableError, match=r"not all of 2 shards have come within 0\.2 s"):
        ShardGroup.join(membership)


def test_an_address_of_another_form_is_refused():
    with pytest.raises(SettingsError, match="tcp://host:port"):
        ShardGroup.join(Membership(0, 2, "127.0.0.1:5000"))


def test_only_rank_0_opens_the_target(folders):
    with pytest.raises(SettingsError, match="rank 1 cannot open"):
        open_sharded_target(serving_of(folders["llama"]), replace(Membership(0, 2, "tcp://127.0.0.1:1"), rank=1))


def test_a_target_can_be_opened_again_in_the_same_process(folders):
    texts = []
    for _ in range(2):
        with sharded(serving_of(folders["qwen2"], "bfloat16"), 2) as (target, _):
            texts.append(greedy(target, [TEXT[:20]], 16))
        with pytest.raises(UnavailableError, match="closed"):
            target.forward([Block(0, 0, (1,), 1)])
    assert texts[0] == texts[1]
