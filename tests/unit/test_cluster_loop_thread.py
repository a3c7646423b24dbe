"""A loop on a thread of its own: results, errors, generators and ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from orchestration.cluster.loop_thread import LoopThread


@pytest.fixture
def loop():
    made = LoopThread("test")
    yield made
    made.close()


async def name_of_thread() -> str:
    return threading.current_thread().name


def test_work_runs_on_the_loops_own_thread(loop):
    assert loop.run(name_of_thread()) == "test"


def test_an_error_comes_back_as_it_is(loop):
    async def fail():
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        loop.run(fail())


def test_work_that_takes_too_long_is_cancelled(loop):
    cancelled = threading.Event()

    async def linger():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        loop.run(linger(), 0.01)
    assert cancelled.wait(30)


def test_a_generator_is_passed_on_and_closed_when_left_early(loop):
    closed = threading.Event()

    async def count():
        try:
            for number in range(5):
                yield number
        finally:
            closed.set()

    assert list(loop.iterate(count())) == [0, 1, 2, 3, 4]
    assert closed.is_set()
    closed.clear()
    numbers = loop.iterate(count())
    assert next(numbers) == 0
    numbers.close()
    assert closed.is_set()


def test_a_generators_error_comes_back(loop):
    async def fail():
        yield 1
        raise ValueError("why")

    numbers = loop.iterate(fail())
    assert next(numbers) == 1
    with pytest.raises(ValueError, match="why"):
        next(numbers)


def test_closing_cancels_what_runs_and_ends_the_thread():
    loop = LoopThread("to be closed")
    running = loop.start(asyncio.Event().wait())
    loop.close()
    assert running.cancelled()
    loop.close()
    assert "to be closed" not in {thread.name for thread in threading.enumerate()}
