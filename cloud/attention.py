"""Attention over the slotted cache, the same arithmetic for a position whatever travels with it.

A forward's rows are one flat list. Each position attends over a cache length that depends on that position alone, in groups of rows
that are a multiple of eight; so the kernels reduce in one order, and a row's bits do not depend on its company. transformers finds it
under `NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface

from cloud.cache import SlottedCache, reach
from cloud.seams import Block

NAME = "airdraft_slotted"
ROW_MULTIPLE = 8  # kernels choose another order of reduction for fewer rows


def padded(rows: int) -> int:
    """`rows` rounded up to what the kernels treat alike."""
    return -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE


@dataclass(frozen=True, slots=True)
class Group:
    """Segments of equal reach and equal number of rows, attended to together. S segments of R rows."""

    slots: torch.Tensor  # [S]
    rows: torch.Tensor  # [S, R] indices into the forward's rows; a short segment repeats its last row
    reach: int
    bias: torch.Tensor  # [S, 1, 1, R, reach] float32: 0 where visible, -inf where not


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the rows of one forward belong. N rows, of which the first n are real and the rest padding."""

    cache: SlottedCache
    tokens: torch.Tensor  # [1, N]
    positions: torch.Tensor  # [1, N]
    real: int  # n
    places: tuple[torch.Tensor, torch.Tensor]  # slots [n], positions [n]
    groups: tuple[Group, ...]


def plan(blocks: Sequence[Block], cache: SlottedCache, device: torch.device) -> Plan:
    """Lay the blocks' tokens out as rows, in order, and group them for attention."""
    tokens = [token for block in blocks for token in block.tokens]
    positions = [block.position + offset for block in blocks for offset in range(len(block.tokens))]
    slots = [block.slot for block in blocks for _ in block.tokens]
    padding = [0] * (padded(len(tokens)) - len(tokens))
    return Plan(
        cache=cache,
        tokens=torch.tensor([tokens + padding], device=device),
        positions=torch.tensor([positions + padding], device=device),
        real=len(tokens),
        places=(torch.tensor(slots, device=device), torch.tensor(positions, device=device)),
        groups=tuple(_groups(blocks, device)),
    )


def _groups(blocks: Sequence[Block], device: torch.device) -> list[Group]:
    """Cut every block where the reach changes, then gather segments of one shape."""
    shapes: dict[tuple[int, int], list[tuple[int, list[int], int]]] = {}
    first_row = 0
    for block in blocks:
        start = 0
        while start < len(block.tokens):
            length = reach(block.position + start)
            stop = min(len(block.tokens), length - block.position)
            rows = list(range(first_row + start, first_row + stop))
            shapes.setdefault((length, padded(len(rows))), []).append((block.slot, rows, block.position + start))
            start = stop
        first_row += len(block.tokens)
    return [_group(length, height, segments, device) for (length, height), segments in shapes.items()]


def _group(length: int, height: int, segments: list[tuple[int, list[int], int]], device: torch.device) -> Group:
    rows = [rows + [rows[-1]] * (height - len(rows)) for _, rows, _ in segments]
    positions = [[position + min(offset, len(rows) - 1) for offset in range(height)] for _, rows, position in segments]
    last_visible = torch.tensor(positions, device=device)[:, None, None, :, None]
    bias = torch.zeros(len(segments), 1, 1, height, length, device=device)
    bias.masked_fill_(torch.arange(length, device=device) > last_visible, float("-inf"))
    slots = torch.tensor([slot for slot, _, _ in segments], device=device)
    return Group(slots, torch.tensor(rows, device=device), length, bias)


def slotted_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **keywords: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query [1, H, N, D], key and value [1, G, N, D] to ([1, N, H, D], no weights)."""
    layout: Plan = keywords["airdraft_plan"]
    layer, scale = int(module.layer_idx), float(keywords["scaling"])
    real = layout.real
    layout.cache.write(layer, layout.places, key[0, :, :real].transpose(0, 1), value[0, :, :real].transpose(0, 1))
    queries = query[0].transpose(0, 1)  # [N, H, D]
    result = torch.zeros_like(queries, memory_format=torch.contiguous_format)
    for group in layout.groups:
        keys, values = layout.cache.read(layer, group.slots, group.reach)
        result[group.rows] = _attend(queries[group.rows], keys, values, group.bias, scale)
    return result[None], None


def _attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor, scale: float) -> torch.Tensor:
    """Queries [S, R, H, D] over keys and values [S, G, L, D] to [S, R, H, D]; softmax in float32, as transformers' own eager attention."""
    segments, rows, heads, width = queries.shape
    groups, length = keys.shape[1], keys.shape[2]
    shared = heads // groups  # query heads per key/value head, folded into the rows so that keys are read once
    folded = queries.permute(0, 2, 1, 3).reshape(segments, groups, shared * rows, width)
    scores = torch.matmul(folded, keys.transpose(-1, -2)).mul_(scale)
    weights = torch.softmax(scores.view(segments, groups, shared, rows, length).float() + bias, dim=-1)
    mixed = torch.matmul(weights.to(queries.dtype).view(segments, groups, shared * rows, length), values)
    return mixed.view(segments, heads, rows, width).permute(0, 2, 1, 3)


AttentionInterface.register(NAME, slotted_attention)
