"""Which models can be cut into how many shards, and where the cuts fall."""

from __future__ import annotations

import json

import pytest

from airdraft.errors import CorruptModelError, SettingsError
from cloud.shards import Membership, check_division, open_sharded_target, working_sizes
from cloud.shards.division import longest_stretch, stretch
from tests.shard_world import serving_of


def folder_with(path, **configuration):
    (path / "config.json").write_text(json.dumps(configuration))
    return path


@pytest.mark.parametrize(
    ("heads", "key_value_heads", "sizes"),
    [(12, 2, (1, 2)), (14, 2, (1, 2)), (9, 3, (1, 3)), (32, 8, (1, 2, 4, 8)), (6, 6, (1, 2, 3, 6)), (8, 1, (1,))],
)
def test_a_size_works_when_every_shard_gets_whole_heads(heads, key_value_heads, sizes):
    assert working_sizes(heads, key_value_heads) == sizes


def test_a_model_whose_heads_do_not_divide_is_refused_with_the_sizes_that_work(tmp_path):
    folder = folder_with(tmp_path, num_attention_heads=9, num_key_value_heads=3)
    with pytest.raises(SettingsError, match=r"into 2 shards.*9 heads over 3 key/value heads.*work: 1, 3\."):
        check_division(folder, 2)
    check_division(folder, 3)


def test_the_refusal_comes_before_anything_is_joined_or_loaded(tmp_path):
    folder = folder_with(tmp_path, num_attention_heads=9, num_key_value_heads=3)  # no weights, and nobody at that address
    with pytest.raises(SettingsError, match="work: 1, 3"):
        open_sharded_target(serving_of(folder), Membership(0, 2, "tcp://192.0.2.1:9"))


def test_heads_that_share_nothing_count_as_their_own_key_value_heads(tmp_path):
    check_division(folder_with(tmp_path, num_attention_heads=4), 4)


@pytest.mark.parametrize("heads", [None, "12", 0])
def test_a_configuration_without_heads_is_refused(tmp_path, heads):
    with pytest.raises(CorruptModelError, match="num_attention_heads"):
        check_division(folder_with(tmp_path, num_attention_heads=heads), 2)


@pytest.mark.parametrize(("size", "shards"), [(96, 2), (97, 3), (5, 4), (3, 3)])
def test_stretches_cover_a_dimension_once_and_in_order(size, shards):
    stretches = [stretch(size, rank, shards) for rank in range(shards)]
    assert [index for begin, end in stretches for index in range(begin, end)] == list(range(size))
    assert max(end - begin for begin, end in stretches) == longest_stretch(size, shards)
    assert min(end - begin for begin, end in stretches) >= longest_stretch(size, shards) - 1


@pytest.mark.parametrize(("rank", "shards"), [(2, 2), (-1, 2), (0, 0)])
def test_a_place_outside_the_group_is_refused(rank, shards):
    with pytest.raises(SettingsError, match="rank"):
        Membership(rank, shards, "tcp://127.0.0.1:1")


def test_a_deadline_of_nothing_is_refused():
    with pytest.raises(SettingsError, match="deadlines"):
        Membership(0, 2, "tcp://127.0.0.1:1", timeout_s=0)
