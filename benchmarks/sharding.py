"""What sharding costs per round on loopback: a tiny model's forward in one process and in two, turn by turn, with one thread each."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from airdraft.models import load_model
from airdraft.settings import ModelSettings
from benchmarks.measurement import Report, Spread
from cloud.seams import Block, Target
from cloud.shards import Meeting, Membership, Serving, ShardedTarget, ShardGroup, open_sharded_target, serve_shard
from cloud.target import TransformersTarget

SHARDS = 2
BAR_S = 0.003
DRAFT_LENGTHS = (1, 4, 8)
PREFIX = tuple(range(64))
PARTS = {"broadcast": "command", "collect": "rows of logits", "add_up": "sums in the layers"}
COST = "command and rows"  # what a round pays beyond the forward itself; the sums are part of the sharded forward


def run(quick: bool) -> Report:
    """The forward of a round, sharded less whole, pair by pair; and how long rank 0 is in each exchange, waiting included."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        _save_tiny_model(Path(folder))
        model = ModelSettings(model=folder, dtype="float32", threads=1)
        whole = TransformersTarget(load_model(Path(folder), model), 1, 256)
        with _in_shards(Serving(Path(folder), model, 1, 256)) as target:
            figures = {length: _turns(target, whole, length, 50 if quick else 1000) for length in DRAFT_LENGTHS}
    spreads = {length: {name: Spread.of(values) for name, values in taken.items()} for length, taken in figures.items()}
    columns = ("whole", "in shards", "difference", COST, *PARTS.values())
    return Report(
        name="sharding",
        question="Milliseconds of a tiny float32 model's forward for one round: p50 (min-max); and how long rank 0 is in each exchange.",
        columns=("draft length", *columns),
        rows=tuple((str(length), *(found[name].text(1000, 2) for name in columns)) for length, found in spreads.items()),
        figures={f"k{length}_{name}_p50_ms": each.median * 1000 for length, found in spreads.items() for name, each in found.items()},
        headline=f"{max(found[COST].median for found in spreads.values()) * 1000:.1f} ms: broadcast and gather of a round's forward over "
        f"{SHARDS} shards (p50)",
        bar=f"{COST} (one broadcast, one gather) at most {BAR_S * 1000:g} ms p50",
        met=all(found[COST].median <= BAR_S for found in spreads.values()),
        notes=(
            f"{SHARDS} processes with one thread each, gloo over loopback; the turns of one process and of two alternate.",
            "The difference holds both and the sums, of which there is one for the embedding and two per layer. Waiting for the other "
            "process is inside, and grows when the cores have other work.",
        ),
    )


def _save_tiny_model(folder: Path) -> None:
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)


@contextmanager
def _in_shards(serving: Serving) -> Iterator[ShardedTarget]:
    meeting = Meeting.host()
    membership = Membership(0, SHARDS, meeting.address, threads=1)
    spawning = multiprocessing.get_context("spawn")
    others = [
        spawning.Process(target=serve_shard, args=(serving, replace(membership, rank=rank)), daemon=True) for rank in range(1, SHARDS)
    ]
    for other in others:
        other.start()
    try:
        with closing(open_sharded_target(serving, membership, meeting)) as target:
            yield target
    finally:
        for other in others:
            other.join(60)
            other.kill()


def _turns(target: ShardedTarget, whole: Target, draft_length: int, repeats: int) -> dict[str, list[float]]:
    """Seconds by name, one of each per turn. The block of a round: the last committed token and the draft, rows wanted for all."""
    block = Block(0, len(PREFIX), tuple(range(draft_length + 1)), draft_length + 1)
    for each in (target, whole):
        each.forward([Block(0, 0, PREFIX, 0)])
    spent = _timed_exchanges(target.group)
    taken: dict[str, list[float]] = {}
    for turn in range(-20, repeats):  # the first ones warm up
        spent.update(dict.fromkeys(PARTS, 0.0))
        seconds = {"whole": _seconds(whole, block), "in shards": _seconds(target, block)}
        seconds["difference"] = seconds["in shards"] - seconds["whole"]
        seconds[COST] = spent["broadcast"] + spent["collect"]
        for name, value in (seconds | {PARTS[part]: value for part, value in spent.items()}).items():
            if turn >= 0:
                taken.setdefault(name, []).append(value)
    return taken


def _seconds(target: Target, block: Block) -> float:
    started = time.perf_counter()
    target.forward([block])
    return time.perf_counter() - started


def _timed_exchanges(group: ShardGroup) -> dict[str, float]:
    """Let this group's exchanges add their seconds to the answer, by method."""
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    def timed(name: str, exchange: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run_timed(tensor: Any) -> Any:
            started = time.perf_counter()
            try:
                return exchange(tensor)
            finally:
                spent[name] += time.perf_counter() - started

        return run_timed

    for name in PARTS:
        setattr(group, name, timed(name, getattr(type(group), name).__get__(group)))
    return spent
