"""One shard of a transformers model: its own classes, cut by its own tensor-parallel plan, its weights read part by part and packed.

No process ever holds more of the model than its shard, and one matrix of that twice. The cuts are the plan's; the exchanges are ours
(`layers`), because they keep one order of summation and a deadline, and leave plain matrices for the kernels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]  # it ships no types
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from airdraft.errors import ModelError, SettingsError
from airdraft.packed_linear import PackedLinear, can_pack
from airdraft.settings import ModelSettings
from cloud.shards.division import check_division, stretch
from cloud.shards.group import ShardGroup
from cloud.shards.layers import CollectedLinear, SummedEmbedding, SummedLinear
from cloud.shards.weights import Cut, Weights

BY_OUTPUTS, BY_INPUTS, HEAD, BY_VOCABULARY = "colwise", "rowwise", ("colwise_gather_output", "colwise_rep"), "embedding_rowwise"
WHOLE = ("replicate", "replicated_with_grad_allreduce")
KNOWN_STYLES = {BY_OUTPUTS, BY_INPUTS, *HEAD, BY_VOCABULARY, *WHOLE}


def load_shard(folder: Path, settings: ModelSettings, group: ShardGroup) -> Any:
    """This member's part of the folder's model: a `PreTrainedModel` whose configuration counts the part's own heads.

    Raises SettingsError for a model that cannot be cut so, ModelError or CorruptModelError for one that cannot be read.
    """
    check_division(folder, group.shards)
    weights = Weights(folder)
    dtype = getattr(torch, settings.dtype)
    try:
        configuration = AutoConfig.from_pretrained(folder, local_files_only=True)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(configuration, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(f"{folder} cannot be made into a model: {str(error)[:400]}") from error
    plan = _plan(model, folder)
    _Filling(folder, weights, dtype, torch.device(settings.device), group).fill(model, plan)
    _count_own_heads(model.config, group.shards)
    return model.to(settings.device).eval().requires_grad_(False)


def _plan(model: Any, folder: Path) -> dict[str, str]:
    """Module names, with * for layer numbers, to styles. Raises SettingsError when there is none, or it asks for what is not done here."""
    plan: dict[str, str] = dict(model.tp_plan or {})
    if not plan:
        raise SettingsError(f"{folder.name} comes without a tensor-parallel plan, so it cannot be cut into shards. Serve it unsharded.")
    if strange := sorted({*plan.values()} - KNOWN_STYLES):
        raise SettingsError(f"the tensor-parallel plan of {folder.name} has layers of style {', '.join(strange)}. Serve it unsharded.")
    extra = sorted({*model.state_dict()} - {name for name, _ in model.named_parameters(remove_duplicate=False)})
    if extra:
        raise SettingsError(f"{folder.name} keeps {extra[0]!r} beside its weights, which shards cannot read. Serve it unsharded.")
    return plan


def _count_own_heads(configuration: Any, shards: int) -> None:
    width = getattr(configuration, "head_dim", None) or configuration.hidden_size // configuration.num_attention_heads
    configuration.head_dim = width
    configuration.num_attention_heads //= shards
    configuration.num_key_value_heads //= shards


def _own_size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


@dataclass(frozen=True, slots=True)
class _Filling:
    """Gives the empty modules of a model this member's weights."""

    folder: Path
    weights: Weights
    dtype: torch.dtype
    device: torch.device
    group: ShardGroup

    def fill(self, model: Any, plan: dict[str, str]) -> None:
        """Replace what the plan cuts; load the rest whole."""
        tied: dict[str, str] = dict(getattr(model, "all_tied_weights_keys", None) or {})
        head = model.get_output_embeddings()
        # The largest first: a matrix is there twice while it is packed, so the head should be that before anything else is there.
        for name, module in sorted(model.named_modules(), key=lambda entry: _own_size(entry[1]), reverse=True):
            style = plan.get(re.sub(r"\.\d+(?=\.|$)", ".*", name), WHOLE[0])
            if style in WHOLE:
                self._load_whole(name, module)
                continue
            if style in HEAD and module is not head:
                raise SettingsError(f"{self.folder.name} gathers the output of {name!r}, which is not its head. Serve it unsharded.")
            part = self._part(style, name, module, tied)
            parent, _, own_name = name.rpartition(".")
            setattr(model.get_submodule(parent), own_name, part)

    def _part(self, style: str, name: str, module: nn.Module, tied: dict[str, str]) -> nn.Module:
        weight = tied.get(f"{name}.weight", f"{name}.weight")
        if style == BY_VOCABULARY and type(module) is nn.Embedding:
            cut = self._cut(0, module.num_embeddings)
            return SummedEmbedding(self._read(weight, cut), cut.begin, self.group)
        if style == BY_VOCABULARY or type(module) is not nn.Linear:
            raise SettingsError(f"{name!r} of {self.folder.name} is a {type(module).__name__}, cut as {style!r}. Serve it unsharded.")
        bias = f"{name}.bias" if module.bias is not None else None
        if style == BY_INPUTS:
            part = self._linear(self._read(weight, self._cut(1, module.in_features)), None)
            return SummedLinear(part, None if bias is None else self._read(bias), self.group)
        cut = self._cut(0, module.out_features)
        part = self._linear(self._read(weight, cut), None if bias is None else self._read(bias, cut))
        return CollectedLinear(part, module.out_features, self.group) if style in HEAD else part

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            linear.bias = nn.Parameter(bias, requires_grad=False)
        return PackedLinear(linear) if can_pack(weight.dtype, weight.device) else linear

    def _load_whole(self, name: str, module: nn.Module) -> None:
        for own_name, parameter in list(module.named_parameters(recurse=False)):
            value = self._read(f"{name}.{own_name}")
            if value.shape != parameter.shape:
                raise ModelError(f"{name}.{own_name} of {self.folder} has shape {list(value.shape)}, expected {list(parameter.shape)}.")
            setattr(module, own_name, nn.Parameter(value, requires_grad=False))

    def _cut(self, dimension: int, size: int) -> Cut:
        return Cut(dimension, *stretch(size, self.group.rank, self.group.shards))

    def _read(self, name: str, cut: Cut | None = None) -> torch.Tensor:
        return self.weights.read(name, self.dtype, cut).to(self.device)
