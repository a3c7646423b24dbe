from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from airdraft.errors import CapacityError, DrainingError, InternalError, MalformedMessageError
from airdraft.prefix import Prefix
from cloud.batcher import Answer, Batcher
from cloud.seams import Block, Rows
from cloud.settings import VerifierSettings
from tests.hash_target import HashTarget, logits_after
from tests.virtual_time import VirtualClock, in_virtual_time

POISON = 40


class Bench:
    """A batcher over the hash target, and what it reported."""

    def __init__(self, **settings: Any) -> None:
        self.target = HashTarget(slots=8)
        self.target.poison = POISON
        self.clock = VirtualClock()
        self.batcher = Batcher(self.target, self.clock, VerifierSettings(**settings))
        self.shares: list[tuple[Block, float]] = []

    async def feed(self, slot: int, tokens: tuple[int, ...], wanted: int = 1, position: int = 0) -> Answer[np.ndarray]:
        block = Block(slot, position, tokens, wanted)
        return await self.batcher.submit(block, lambda rows: rows.logits, lambda piece, share_s: self.shares.append((piece, share_s)))

    def sizes(self) -> list[list[int]]:
        """Rows of each block of each forward so far."""
        return [[len(block.tokens) for block in blocks] for blocks in self.target.calls]


def expected(tokens: tuple[int, ...], wanted: int = 1) -> np.ndarray:
    prefix = Prefix(tokens)
    return np.stack([logits_after(prefix.digest(len(tokens) - wanted + 1 + index)) for index in range(wanted)])


@in_virtual_time
async def test_a_block_is_answered_with_its_own_rows_and_what_they_took():
    bench = Bench()
    answer = await bench.feed(0, (1, 2, 3), wanted=2)
    assert np.array_equal(answer.result, expected((1, 2, 3), 2))
    assert answer.batch == 1
    assert (answer.queue_s, answer.forward_s) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.023))
    assert bench.shares == [(Block(0, 0, (1, 2, 3), 2), pytest.approx(answer.forward_s))]


@in_virtual_time
async def test_blocks_that_wait_share_one_forward_and_its_cost_by_their_rows():
    bench = Bench()
    answers = await asyncio.gather(*(bench.feed(slot, tuple(range(slot + 1))) for slot in range(4)))
    assert len(bench.target.calls) == 1
    assert [answer.batch for answer in answers] == [4] * 4
    assert sum(share for _, share in bench.shares) == pytest.approx(answers[0].forward_s)
    assert bench.shares[3][1] == pytest.approx(4 * bench.shares[0][1])


@in_virtual_time
async def test_what_arrives_during_a_forward_goes_together_into_the_next():
    bench = Bench()
    first = asyncio.create_task(bench.feed(0, (1,)))
    await asyncio.sleep(0.001)
    second, third = await asyncio.gather(bench.feed(1, (2,)), bench.feed(2, (3,)))
    assert bench.sizes() == [[1], [1, 1]]
    assert second.queue_s == third.queue_s == pytest.approx(0.02)
    await first


@in_virtual_time
async def test_one_slot_has_one_block_per_forward():
    bench = Bench()
    await asyncio.gather(bench.feed(0, (1, 2), wanted=2), bench.feed(0, (1, 2, 3), wanted=3), bench.feed(1, (1,)))
    assert bench.sizes() == [[2, 1], [3]]


@in_virtual_time
async def test_a_forward_never_has_more_rows_than_allowed():
    bench = Bench(max_rows=32, prefill_rows=8)
    await asyncio.gather(*(bench.feed(slot, (1,) * 12, wanted=12) for slot in range(6)))
    assert bench.sizes() == [[12, 12], [12, 12], [12, 12]]


@in_virtual_time
async def test_a_prompt_alone_is_fed_in_large_pieces():
    bench = Bench(max_rows=100, prefill_rows=20)
    tokens = tuple(index % 40 for index in range(250))
    answer = await bench.feed(0, tokens)
    assert bench.sizes() == [[100], [100], [50]]
    assert np.array_equal(answer.result, expected(tokens))
    assert [piece.wanted for piece, _ in bench.shares] == [0, 0, 1]


@in_virtual_time
async def test_a_prompt_in_company_is_fed_in_small_pieces_beside_the_others_rounds():
    bench = Bench(max_rows=100, prefill_rows=20)
    prompt = asyncio.create_task(bench.feed(0, tuple(index % 40 for index in range(250))))
    waits = []
    while not prompt.done():
        waits.append((await bench.feed(1, (1, 2, 3), wanted=3)).queue_s)
    beside = bench.sizes()
    assert all(size in ([3, 20], [3]) or sum(size) <= 23 for size in beside[1:])
    assert max(waits[1:]) < 0.045  # a round waits for a small piece at most, and once its rhythm is known for nothing
    assert max(waits[2:]) < 0.001
    assert sum(size == [3, 20] for size in beside) >= 6


@in_virtual_time
async def test_the_rows_that_are_wanted_are_never_torn_apart():
    bench = Bench(max_rows=100, prefill_rows=20)
    tokens = tuple(index % 40 for index in range(26))
    await bench.feed(1, (1,))
    answer = await bench.feed(0, tokens, wanted=8)
    assert bench.sizes()[1:] == [[18], [8]]
    assert np.array_equal(answer.result, expected(tokens, 8))


@in_virtual_time
async def test_a_full_house_does_not_starve_a_prompt():
    bench = Bench(max_rows=32, max_draft=15, prefill_rows=8, batch_wait_s=0)
    running = True

    async def busy(slot: int) -> None:
        while running:
            await bench.feed(slot, (1,) * 12, wanted=12)

    others = [asyncio.create_task(busy(slot)) for slot in range(1, 7)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await bench.feed(0, (1,) * 64)
    running = False
    await asyncio.gather(*others)


@in_virtual_time
async def test_the_batcher_waits_a_moment_for_one_who_is_due_and_not_for_one_who_is_not():
    bench = Bench(batch_wait_s=0.004)

    async def session(slot: int, pause_s: float, rounds: int) -> None:
        for _ in range(rounds):
            await bench.feed(slot, (1,))
            await asyncio.sleep(pause_s)

    await asyncio.gather(session(0, 0.001, 8), session(1, 0.003, 8))
    assert all(len(blocks) == 2 for blocks in bench.target.calls[3:-1]), bench.sizes()
    await asyncio.sleep(0.1)
    before = bench.clock.now()
    answer = await bench.feed(0, (1,))
    assert bench.clock.now() - before == pytest.approx(answer.forward_s)


@in_virtual_time
async def test_a_block_that_breaks_the_forward_takes_no_other_with_it():
    bench = Bench()
    results = await asyncio.gather(*(bench.feed(slot, (slot, POISON if slot == 2 else 1)) for slot in range(4)), return_exceptions=True)
    assert isinstance(results[2], InternalError) and "poisoned" in str(results[2])
    for slot in (0, 1, 3):
        assert np.array_equal(results[slot].result, expected((slot, 1)))
    assert (await bench.feed(2, (5,))).batch == 1


@in_virtual_time
async def test_a_rule_that_fails_takes_no_other_with_it_and_keeps_its_error():
    bench = Bench()

    def refuse(rows: Rows) -> None:
        raise MalformedMessageError("no such row")

    def break_down(rows: Rows) -> None:
        raise ValueError("a fault")

    refused, broken, fine = await asyncio.gather(
        bench.batcher.submit(Block(0, 0, (1,), 1), refuse, lambda *_: None),
        bench.batcher.submit(Block(1, 0, (1,), 1), break_down, lambda *_: None),
        bench.feed(2, (1,)),
        return_exceptions=True,
    )
    assert isinstance(refused, MalformedMessageError) and isinstance(broken, InternalError)
    assert np.array_equal(fine.result, expected((1,)))


@in_virtual_time
async def test_a_full_queue_refuses_with_a_time_to_come_back():
    bench = Bench(queue_rows=64)
    running = asyncio.create_task(bench.feed(0, (1,) * 60))
    await asyncio.sleep(0)
    with pytest.raises(CapacityError) as refusal:
        await bench.feed(1, (1,) * 10)
    assert refusal.value.retry_after_s is not None and refusal.value.retry_after_s > 0
    await running
    await bench.feed(1, (1,) * 10)


@in_virtual_time
async def test_a_block_that_nobody_waits_for_any_more_is_dropped():
    bench = Bench()
    running = asyncio.create_task(bench.feed(0, (1,)))
    await asyncio.sleep(0.001)
    given_up = asyncio.create_task(bench.feed(1, (2,)))
    kept = asyncio.create_task(bench.feed(2, (3,)))
    await asyncio.sleep(0.001)
    given_up.cancel()
    await asyncio.gather(running, kept)
    assert bench.sizes() == [[1], [1]] and bench.batcher.queued_rows == 0


@in_virtual_time
async def test_nothing_is_reported_of_a_block_given_up_while_it_was_computed():
    bench = Bench()
    given_up = asyncio.create_task(bench.feed(0, (1,)))
    await asyncio.sleep(0.001)
    given_up.cancel()
    await bench.feed(1, (2,))
    assert [piece.slot for piece, _ in bench.shares] == [1]


@in_virtual_time
async def test_closing_drops_what_waits_and_refuses_what_comes():
    bench = Bench()
    waiting = [asyncio.create_task(bench.feed(slot, (1,) * 300)) for slot in range(2)]
    await asyncio.sleep(0.001)
    await bench.batcher.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, DrainingError) for result in results)
    with pytest.raises(DrainingError):
        await bench.feed(0, (1,))
    assert len(bench.target.calls) == 1


@in_virtual_time
async def test_an_idle_batcher_has_no_task():
    bench = Bench()
    await bench.feed(0, (1,))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert bench.batcher.counts.forwards == 1 and bench.batcher.counts.rows == 1
