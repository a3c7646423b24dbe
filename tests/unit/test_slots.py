from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airdraft.errors import CapacityError, InternalError
from airdraft.prefix import Prefix
from cloud.slots import SlotTable, shared_length
from tests.virtual_time import in_virtual_time

TEXT = Prefix((1, 2, 3, 4))


async def use(table: SlotTable, session: str, text: Prefix = TEXT) -> tuple[int, int]:
    """Take a slot, fill it with the whole text, give it back; its number and how much it held."""
    with await table.acquire(session, text) as hold:
        cached = hold.cached
        hold.fed(cached, text.tokens(cached))
        table.view()
        return hold.slot, cached


def others(*first: int) -> Prefix:
    return Prefix((*first, 9, 9, 9))


@in_virtual_time
async def test_a_session_finds_its_slot_as_it_left_it():
    table = SlotTable(2, 1.0)
    slot, cached = await use(table, "a")
    assert cached == 0
    assert await use(table, "a", Prefix((1, 2, 3, 4, 5))) == (slot, 4)


@in_virtual_time
async def test_what_was_not_committed_is_not_relied_on():
    table = SlotTable(1, 1.0)
    with await table.acquire("a", TEXT) as hold:
        hold.fed(0, (1, 2, 3, 4, 7, 8, 9))
        hold.keep = 6
    with await table.acquire("a", Prefix((1, 2, 3, 4, 7, 8, 5))) as hold:
        assert hold.cached == 6


@in_virtual_time
async def test_a_turn_that_broke_off_leaves_the_committed_text_only():
    table = SlotTable(1, 1.0)
    with pytest.raises(RuntimeError), await table.acquire("a", TEXT) as hold:
        hold.fed(0, (1, 2, 3, 4, 7, 8, 9))
        raise RuntimeError
    with await table.acquire("a", TEXT) as hold:
        assert hold.cached == 4


@in_virtual_time
async def test_feeding_past_a_gap_is_a_fault():
    table = SlotTable(1, 1.0)
    with await table.acquire("a", TEXT) as hold, pytest.raises(InternalError):
        hold.fed(1, (2,))


@in_virtual_time
async def test_the_least_recently_used_slot_is_given_away():
    table = SlotTable(2, 1.0)
    slot_a, _ = await use(table, "a", others(1))
    slot_b, _ = await use(table, "b", others(2))
    await use(table, "a", others(1))
    assert (await use(table, "c", others(3)))[0] == slot_b
    assert (await use(table, "a", others(1)))[0] == slot_a


@in_virtual_time
async def test_the_slot_of_an_absent_session_goes_first_but_is_its_own_while_nobody_needs_it():
    table = SlotTable(2, 1.0)
    await use(table, "a", others(1))
    slot_b, _ = await use(table, "b", others(2))
    table.depart("b")
    assert await use(table, "b", others(2)) == (slot_b, 4)
    table.depart("b")
    assert (await use(table, "c", others(3)))[0] == slot_b


@in_virtual_time
async def test_a_session_that_returned_is_as_safe_as_before():
    table = SlotTable(2, 1.0)
    slot_a, _ = await use(table, "a", others(1))
    await use(table, "b", others(2))
    table.depart("b")
    table.arrive("b")
    assert (await use(table, "c", others(3)))[0] == slot_a


@in_virtual_time
async def test_a_free_slot_is_chosen_by_the_longest_shared_prefix():
    table = SlotTable(3, 1.0)
    await use(table, "a", others(1, 2))
    slot_b, _ = await use(table, "b", others(1, 2, 3))
    await use(table, "c", others(5))
    for session in "abc":
        table.forget(session)
    assert await use(table, "d", Prefix((1, 2, 3, 4))) == (slot_b, 3)


@in_virtual_time
async def test_prefixes_are_not_shared_when_that_is_switched_off():
    table = SlotTable(1, 1.0, share_prefixes=False)
    await use(table, "a")
    table.forget("a")
    assert await use(table, "b") == (0, 0)


@in_virtual_time
async def test_a_slot_that_computes_is_never_given_away_and_the_wait_is_bounded():
    table = SlotTable(1, wait_s=2.0)
    with await table.acquire("a", TEXT):
        with pytest.raises(CapacityError, match="2 s") as refusal:
            await table.acquire("b", TEXT)
        assert refusal.value.retry_after_s
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)
    assert (await use(table, "b"))[0] == 0


@in_virtual_time
async def test_those_who_wait_are_served_in_order():
    table = SlotTable(1, 1.0)
    served: list[str] = []

    async def wait(session: str) -> None:
        with await table.acquire(session, TEXT):
            served.append(session)
            await asyncio.sleep(0.1)

    hold = await table.acquire("first", TEXT)
    tasks = [asyncio.create_task(wait(session)) for session in "bca"]
    await asyncio.sleep(0)
    with hold:
        pass
    await asyncio.gather(*tasks)
    assert served == ["b", "c", "a"]


@in_virtual_time
async def test_one_who_waits_for_its_own_slot_holds_up_nobody():
    table = SlotTable(2, 1.0)
    hold = await table.acquire("a", TEXT)
    again = asyncio.create_task(table.acquire("a", TEXT))
    await asyncio.sleep(0)
    assert (await use(table, "b"))[0] != hold.slot and not again.done()
    with hold:
        pass
    with await again as later:
        assert later.slot == hold.slot


@in_virtual_time
async def test_a_slot_granted_to_one_who_gave_up_in_the_same_moment_goes_to_the_next():
    table = SlotTable(1, 1.0)
    hold = await table.acquire("a", TEXT)
    waiting = asyncio.create_task(table.acquire("b", TEXT))
    await asyncio.sleep(0)
    with hold:
        pass
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await use(table, "c"))[0] == 0


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_the_shared_length_is_that_of_the_common_prefix(one, other):
    expected = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    assert shared_length(one, tuple(other)) == expected
    assert shared_length(one + other, tuple(one)) == len(one)
