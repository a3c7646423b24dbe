"""What rank 0 tells the other shards, and that what they open is the model's own target."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

from airdraft.errors import SettingsError
from airdraft.settings import ModelSettings
from cloud.seams import Block
from cloud.settings import VerifierSettings
from orchestration import assembly
from orchestration.cluster.settings import ReplicasSettings
from orchestration.cluster.sharding import Rank0, ShardOrder
from tests.tiny_models import tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama().save_pretrained(made)
    return made


def settings(folder) -> VerifierSettings:
    return VerifierSettings(model=ModelSettings(model=str(folder), dtype="float32", threads=1), slots=2, context=64)


def test_one_shard_is_the_whole_target(folder):
    started = []
    target = Rank0(ReplicasSettings(shards=1), "127.0.0.1", started.append).open(folder, settings(folder))
    try:
        whole = assembly.open_whole(folder, settings(folder))
        block = [Block(0, 0, (1, 2, 3, 4), 2)]
        assert np.array_equal(target.forward(block)[0].logits, whole.forward(block)[0].logits)
        assert started == []
    finally:
        target.close()


def test_a_model_that_cannot_be_cut_is_refused_before_anybody_is_started(folder):
    started = []
    with pytest.raises(SettingsError, match="Numbers of shards that work: 1, 2"):
        Rank0(ReplicasSettings(shards=3), "127.0.0.1", started.append).open(folder, settings(folder))
    assert started == []


def test_each_other_shard_gets_an_order_of_its_own_that_can_travel(folder):
    orders: list[ShardOrder] = []

    def fail(order: ShardOrder) -> None:
        orders.append(pickle.loads(pickle.dumps(order)))
        raise ConnectionAbortedError("enough seen")

    with pytest.raises(ConnectionAbortedError):
        Rank0(ReplicasSettings(shards=2, shard_deadline_s=5), "127.0.0.1", fail).open(folder, settings(folder))
    membership = orders[0].membership
    assert (membership.rank, membership.shards, membership.timeout_s, membership.backend) == (1, 2, 5.0, "gloo")
    assert membership.address.startswith("tcp://127.0.0.1:")
    assert (orders[0].slots, orders[0].capacity, orders[0].serving(folder).folder) == (2, 64, folder)


def test_no_model_is_said_in_words(folder):
    nothing = replace_model(settings(folder))
    with pytest.raises(SettingsError, match="no model to serve"):
        Rank0(ReplicasSettings(), "127.0.0.1", print).open(folder, nothing)


def replace_model(given: VerifierSettings) -> VerifierSettings:
    return given.model_copy(update={"model": None})


def test_a_membership_of_gpus_exchanges_over_nccl(folder):
    seen = threading.Event()

    def look(order: ShardOrder) -> None:
        assert order.membership.backend == "nccl"
        seen.set()
        raise ConnectionAbortedError("enough seen")

    on_gpus = settings(folder)
    on_gpus = on_gpus.model_copy(update={"model": on_gpus.model.model_copy(update={"device": "cuda:0"})})
    with pytest.raises(ConnectionAbortedError):
        Rank0(ReplicasSettings(shards=2), "127.0.0.1", look).open(folder, on_gpus)
    assert seen.is_set()
