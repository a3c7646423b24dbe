"""One shard's weights: stretches of the files' tensors, together the whole model, and refusals in words."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from airdraft.errors import CorruptModelError, SettingsError
from airdraft.packed_linear import PackedLinear
from airdraft.settings import ModelSettings
from cloud.shards import loading, weights
from cloud.shards.loading import load_shard
from cloud.shards.weights import Cut, Weights
from tests.tiny_models import tiny_llama, tiny_qwen


@dataclass(frozen=True)
class Place:
    """As much of a group as loading asks for."""

    rank: int
    shards: int


@pytest.fixture
def matrix(tmp_path):
    values = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    save_file(
        {"before": torch.ones(3), "matrix": values, "half": values.bfloat16(), "vector": values[:, 0].contiguous()},
        tmp_path / "model.safetensors",
    )
    return values


@pytest.mark.parametrize("band_bytes", [1, 48 * 7, 2**20], ids=["a row", "seven rows", "all"])
@pytest.mark.parametrize("cut", [None, Cut(0, 0, 20), Cut(0, 20, 50), Cut(1, 0, 5), Cut(1, 5, 12)], ids=str)
def test_a_stretch_is_read_as_it_lies_in_the_file(tmp_path, monkeypatch, matrix, cut, band_bytes):
    monkeypatch.setattr(weights, "BAND_BYTES", band_bytes)
    expected = matrix if cut is None else matrix.narrow(cut.dimension, cut.begin, cut.end - cut.begin)
    folder = Weights(tmp_path)
    assert torch.equal(folder.read("matrix", torch.float32, cut), expected)
    assert torch.equal(folder.read("half", torch.bfloat16, cut), expected.bfloat16())
    assert torch.equal(folder.read("half", torch.float32, cut), expected.bfloat16().float())


def test_a_vector_is_read_whole_or_in_part(tmp_path, matrix):
    folder = Weights(tmp_path)
    assert torch.equal(folder.read("vector", torch.float32), matrix[:, 0])
    assert torch.equal(folder.read("vector", torch.float32, Cut(0, 10, 30)), matrix[10:30, 0])


def test_a_weight_that_is_not_there_is_named(tmp_path, matrix):
    with pytest.raises(CorruptModelError, match=r"lacks the weight 'lost'"):
        Weights(tmp_path).read("lost", torch.float32)


def test_a_quantised_weight_is_refused(tmp_path):
    save_file({"matrix": torch.ones(4, 4, dtype=torch.int8)}, tmp_path / "model.safetensors")
    with pytest.raises(SettingsError, match=r"is a I8.*Choose the model in bfloat16"):
        Weights(tmp_path).read("matrix", torch.float32)


@pytest.mark.parametrize("family", [tiny_llama, tiny_qwen])
def test_shards_together_hold_every_weight_once(tmp_path, monkeypatch, family):
    monkeypatch.setattr(loading, "can_pack", lambda *_: False)
    whole = family(vocabulary=97)
    whole.save_pretrained(tmp_path)
    shards = [load_shard(tmp_path, ModelSettings(model="m", dtype="float32"), Place(rank, 2)) for rank in range(2)]
    for layer in range(2):
        own, parts = whole.model.layers[layer], [shard.model.layers[layer] for shard in shards]
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"):
            found = torch.cat([part.get_submodule(name).weight for part in parts])
            assert torch.equal(found, own.get_submodule(name).weight), name
            if (bias := own.get_submodule(name).bias) is not None:
                assert torch.equal(torch.cat([part.get_submodule(name).bias for part in parts]), bias)
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            found = torch.cat([part.get_submodule(name).part.weight for part in parts], dim=1)
            assert torch.equal(found, own.get_submodule(name).weight), name
        assert torch.equal(parts[1].input_layernorm.weight, own.input_layernorm.weight)
    assert torch.equal(torch.cat([shard.model.embed_tokens.weight for shard in shards]), whole.model.embed_tokens.weight)
    assert torch.equal(torch.cat([shard.lm_head.part.weight for shard in shards]), whole.lm_head.weight)


def test_a_shard_counts_its_own_heads_and_no_plain_or_empty_weights_are_left(tmp_path):
    tiny_qwen().save_pretrained(tmp_path)
    shard = load_shard(tmp_path, ModelSettings(model="m", dtype="float32"), Place(1, 2))
    assert (shard.config.num_attention_heads, shard.config.num_key_value_heads, shard.config.head_dim) == (2, 1, 8)
    assert not [name for name, module in shard.named_modules() if type(module) is nn.Linear]
    assert sum(isinstance(module, PackedLinear) for module in shard.modules()) == 2 * 7 + 1
    assert not [name for name, tensor in [*shard.named_parameters(), *shard.named_buffers()] if tensor.is_meta]


def test_a_tied_head_is_cut_from_the_embedding(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "can_pack", lambda *_: False)
    config = LlamaConfig(
        vocab_size=97, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=6, num_key_value_heads=3,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    whole = LlamaForCausalLM(config)
    whole.save_pretrained(tmp_path)
    shards = [load_shard(tmp_path, ModelSettings(model="m", dtype="float32"), Place(rank, 3)) for rank in range(3)]
    assert torch.equal(torch.cat([shard.lm_head.part.weight for shard in shards]), whole.model.embed_tokens.weight)


def test_a_folder_without_some_weight_is_refused(tmp_path):
    model = tiny_llama()
    model.save_pretrained(tmp_path)
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "model.layers.1.mlp.up_proj.weight"}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptModelError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        load_shard(tmp_path, ModelSettings(model="m", dtype="float32"), Place(0, 2))


def test_a_model_without_a_plan_is_refused(tmp_path):
    config = OPTConfig(vocab_size=96, hidden_size=32, ffn_dim=64, num_hidden_layers=1, num_attention_heads=4, word_embed_proj_dim=32)
    OPTForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match=r"without a tensor-parallel plan.*Serve it unsharded"):
        load_shard(tmp_path, ModelSettings(model="m", dtype="float32"), Place(0, 2))


def test_a_plan_with_a_style_of_another_kind_is_refused(tmp_path, monkeypatch):
    tiny_llama().save_pretrained(tmp_path)
    monkeypatch.setattr(LlamaForCausalLM, "_tp_plan", {"lm_head": "packed_colwise"})
    with pytest.raises(SettingsError, match=r"style packed_colwise"):
        load_shard(tmp_path, ModelSettings(model="m", dtype="float32"), Place(0, 2))
