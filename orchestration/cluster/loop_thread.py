"""An asyncio event loop on a thread of its own, for whoever calls it from other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")
Item = TypeVar("Item")

END_S = 10.0


class LoopThread:
    """Runs coroutines until it is closed. Calls from its own thread would wait for themselves: do not make any."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Begin, and answer with where the result will be."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, Result], within_s: float | None = None) -> Result:
        """Do it and wait for the result, or the error that it raised. Raises TimeoutError, and cancels it, when that takes too long."""
        running = self.start(work)
        try:
            return running.result(within_s)
        except BaseException:
            running.cancel()
            raise

    def iterate(self, items: AsyncGenerator[Item, None]) -> Iterator[Item]:
        """What an asynchronous generator yields; it is closed when this one is."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except _Over:
                    return
        finally:
            self.run(items.aclose(), END_S)

    def close(self) -> None:
        """Cancel what still runs, and end the thread."""
        if not self._thread.is_alive():
            return
        self.run(_cancel_others(), END_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_S)
        if not self._thread.is_alive():
            self._loop.close()


class _Over(Exception):
    """A generator's end, as something that can leave a coroutine."""


async def _next(items: AsyncGenerator[Item, None]) -> Item:
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise _Over from None


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
