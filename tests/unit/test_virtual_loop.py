"""The loop that jumps: time, order, refusals, and standstill said in words."""

import asyncio
import time

import pytest

from airdraft.errors import InternalError
from orchestration.simulation import VirtualLoop, run


def test_a_day_takes_no_time_and_is_exact() -> None:
    async def main() -> float:
        for _ in range(24):
            await asyncio.sleep(3600.0)
        return asyncio.get_running_loop().time()

    started = time.monotonic()
    assert run(main()) == 86_400.0
    assert time.monotonic() - started < 60.0


def test_timers_fire_in_order_of_time_and_then_of_setting() -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        for name, delay_s in (("c", 2.0), ("a", 1.0), ("d", 2.0), ("b", 1.0), ("e", 2.0)):
            loop.call_later(delay_s, seen.append, name)
        await asyncio.sleep(3.0)
        return seen

    assert run(main()) == ["a", "b", "c", "d", "e"]


def test_cancelled_timers_do_not_fire_and_do_not_move_the_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(1000.0 + number, pytest.fail) for number in range(300)]
        for timer in timers:
            timer.cancel()
        await asyncio.sleep(5.0)
        return loop.time()

    assert run(main()) == 5.0


def test_a_timeout_ends_a_wait_at_its_very_moment() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == 1.5


def test_a_standstill_is_reported_with_those_who_wait() -> None:
    async def starved() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(2.5)
        async with asyncio.TaskGroup() as group:
            group.create_task(starved(), name="the-starved-one")

    with pytest.raises(InternalError, match=r"stands still: at 2\.5 s no timer is set.*the-starved-one .*starved"):
        run(main())


def test_going_round_in_circles_ends_at_the_horizon() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(1.0)

    with pytest.raises(InternalError, match=r"stands still.*past its horizon of 100 s"):
        run(main(), horizon_s=100.0)


def test_threads_are_refused() -> None:
    async def main() -> None:
        await asyncio.to_thread(time.monotonic)

    with pytest.raises(InternalError, match="machine's clock"):
        run(main())


def test_what_the_program_raises_comes_out_and_its_tasks_are_cleaned_up() -> None:
    ended = []

    async def other() -> None:
        try:
            await asyncio.sleep(100.0)
        finally:
            ended.append("other")

    async def main() -> None:
        task = asyncio.create_task(other())
        await asyncio.sleep(1.0)
        raise KeyError(task.get_name())

    with pytest.raises(KeyError):
        run(main())
    assert ended == ["other"]


def test_loops_are_independent() -> None:
    first, second = VirtualLoop(), VirtualLoop()
    try:
        first.run_until_complete(asyncio.sleep(7.0))
        assert (first.time(), second.time()) == (7.0, 0.0)
    finally:
        first.close()
        second.close()
