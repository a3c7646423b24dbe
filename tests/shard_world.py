"""Processes that serve shards, for tests: rank 0 is the test itself, the others are forked from a server that has torch loaded already."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from airdraft.errors import AirdraftError
from airdraft.settings import ModelSettings
from cloud.seams import Block
from cloud.shards import Meeting, Membership, Serving, ShardedTarget, open_sharded_target, serve_shard

WAIT_S = 120.0  # for a process to end on a busy machine
START_S = 10 * WAIT_S  # for one to start: so long that a test which waits this by mistake fails

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["torch", "transformers", "cloud.shards"])


def serving_of(folder: Path, dtype: str = "float32", slots: int = 9, capacity: int = 512) -> Serving:
    return Serving(folder, ModelSettings(model=str(folder), dtype=dtype), slots, capacity)


def logits_of(target, text: tuple[int, ...], length: int, *, first: int = 0, slot: int = 0, neighbours: int = 0) -> np.ndarray:
    """Rows [len(text) - first, V], fed up to `first` at once and from there in blocks of `length`, beside so many other sequences."""
    if first:
        target.forward([Block(slot, 0, text[:first], 0)])
    rows = []
    for step, position in enumerate(range(first, len(text), length)):
        tokens = text[position : position + length]
        blocks = [Block(slot, position, tokens, len(tokens))]
        for other in range(neighbours):
            blocks.insert(other % 2, Block((slot + 1 + other) % target.slots, 3 * other, text[9 : 10 + (step + other) % 7], 1))
        answers = dict(zip([block.slot for block in blocks], target.forward(blocks), strict=True))
        rows.append(answers[slot].logits)
    return np.concatenate(rows)


def greedy(target, prompts: Sequence[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    """`count` tokens after each prompt, all prompts together, one slot each."""
    rows = [target.forward([Block(slot, 0, prompt, 1)])[0] for slot, prompt in enumerate(prompts)]
    texts: list[list[int]] = [[] for _ in prompts]
    while True:
        for text, row in zip(texts, rows, strict=True):
            text.append(int(row.logits[-1].argmax()))
        if len(texts[0]) == count:
            return [tuple(text) for text in texts]
        ends = [len(prompt) + len(text) - 1 for prompt, text in zip(prompts, texts, strict=True)]
        rows = target.forward([Block(slot, end, (texts[slot][-1],), 1) for slot, end in enumerate(ends)])


def serve(serving: Serving, membership: Membership, endings) -> None:
    """One shard's process: serve, then say how it ended."""
    try:
        serve_shard(serving, membership)
        endings.put((membership.rank, "told to", peak_memory_bytes()))
    except AirdraftError as error:
        endings.put((membership.rank, type(error).__name__, error.message))


def peak_memory_bytes() -> int:
    """The most memory that this process has had resident, pages of mapped files included (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in /proc/self/status")


class Workers:
    """The processes of ranks 1 … n - 1, and what they said at their end."""

    def __init__(self, serving: Serving, membership: Membership) -> None:
        self._endings = processes.Queue()
        self.processes = []
        for rank in range(1, membership.shards):
            arguments = (serving, replace(membership, rank=rank), self._endings)
            self.processes.append(processes.Process(target=serve, args=arguments, daemon=True))
            self.processes[-1].start()

    def endings(self) -> list[tuple[int, str, object]]:
        """(rank, why, words or peak memory) of each, once all have ended by themselves."""
        found = sorted(self._endings.get(timeout=WAIT_S) for _ in self.processes)
        for process in self.processes:
            process.join(WAIT_S)
            assert process.exitcode == 0
        return found

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join(WAIT_S)


@contextlib.contextmanager
def sharded(serving: Serving, shards: int, timeout_s: float = WAIT_S) -> Iterator[tuple[ShardedTarget, Workers]]:
    """A target over `shards` processes with one thread each, rank 0 being this one."""
    threads = torch.get_num_threads()
    meeting = Meeting.host(start_timeout_s=START_S)
    membership = Membership(0, shards, meeting.address, timeout_s=timeout_s, start_timeout_s=START_S, threads=1)
    workers = Workers(serving, membership)
    try:
        with contextlib.closing(open_sharded_target(serving, membership, meeting)) as target:
            yield target, workers
    finally:
        workers.kill()
        torch.set_num_threads(threads)
