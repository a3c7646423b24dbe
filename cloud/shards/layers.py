"""A model's layers as one shard of them: part of the weights, and the one exchange that the layer's place in the model asks for.

The styles are those of transformers' tensor-parallel plans (Shoeybi et al. 2019, arXiv 1909.08053, section 3, for the cuts).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cloud.shards.division import longest_stretch, stretch
from cloud.shards.group import ShardGroup


class SummedLinear(nn.Module):
    """Cut by inputs: every shard's product is a part of the sum. The bias is added once, after it. [..., in/n] to [..., out]."""

    def __init__(self, part: nn.Module, bias: torch.Tensor | None, group: ShardGroup) -> None:
        super().__init__()
        self.part, self.group = part, group
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """This shard's inputs to the whole output, the same on every shard."""
        total = self.group.add_up(self.part(rows))
        return total if self.bias is None else total + self.bias


class CollectedLinear(nn.Module):
    """Cut by outputs, put together on rank 0 alone: the head, whose rows nobody else reads. [m, in] to [m, out], or [m, 0] elsewhere."""

    def __init__(self, part: nn.Module, out_features: int, group: ShardGroup) -> None:
        super().__init__()
        self.part, self.out_features, self.group = part, out_features, group

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The same rows on every shard to the whole output on rank 0."""
        part: torch.Tensor = self.part(rows)
        missing = longest_stretch(self.out_features, self.group.shards) - part.shape[-1]
        parts = self.group.collect(functional.pad(part, (0, missing)) if missing else part)
        if not parts:
            return part[..., :0]
        for rank, each in enumerate(parts):
            begin, end = stretch(self.out_features, rank, self.group.shards)
            parts[rank] = each[..., : end - begin]
        return torch.cat(parts, dim=-1)


class SummedEmbedding(nn.Module):
    """Cut by vocabulary: one shard knows a token's vector and the others add zeros. [...] ids to [..., width]."""

    def __init__(self, weight: torch.Tensor, first: int, group: ShardGroup) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)  # [V/n, width]: the vectors of tokens first … first + V/n - 1
        self.first, self.group = first, group

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids to their vectors, the same on every shard."""
        rows = tokens - self.first
        elsewhere = (rows < 0) | (rows >= len(self.weight))
        vectors = functional.embedding(rows.masked_fill(elsewhere, 0), self.weight)
        return self.group.add_up(vectors.masked_fill_(elsewhere[..., None], 0))
