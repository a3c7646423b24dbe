from __future__ import annotations

import asyncio

import pytest

from airdraft.errors import MalformedMessageError
from cloud.pipe import Pipe
from tests.virtual_time import in_virtual_time


@in_virtual_time
async def test_what_is_put_is_got_in_order_and_a_full_pipe_holds_its_writer_back():
    pipe: Pipe[int] = Pipe(2)
    written: list[int] = []

    async def write() -> None:
        for number in range(5):
            await pipe.put(number)
            written.append(number)
        pipe.close()

    task = asyncio.create_task(write())
    await asyncio.sleep(0.1)
    assert written == [0, 1] and pipe.full
    assert [await pipe.get() for _ in range(6)] == [0, 1, 2, 3, 4, None]
    await task


@in_virtual_time
async def test_an_error_comes_after_what_was_put_before_it():
    pipe: Pipe[int] = Pipe(2)
    await pipe.put(1)
    pipe.close(MalformedMessageError("broken"))
    pipe.close()
    await pipe.put(2)
    assert pipe.poll() == 1
    for read in (pipe.poll, pipe.poll):
        with pytest.raises(MalformedMessageError):
            read()
    with pytest.raises(MalformedMessageError):
        await pipe.get()


@in_virtual_time
async def test_closing_wakes_both_sides():
    empty: Pipe[int] = Pipe(1)
    full: Pipe[int] = Pipe(1)
    await full.put(1)
    reader, writer = asyncio.create_task(empty.get()), asyncio.create_task(full.put(2))
    await asyncio.sleep(0.1)
    empty.close()
    full.close()
    assert await reader is None
    await writer
    assert empty.poll() is None
