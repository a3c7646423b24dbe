"""A read that outlives a cancelled wait: gRPC drops the whole call when a pending read is cancelled. It knows nothing of what is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class Reading(Generic[Item]):
    """One read at a time; when whoever waits is cancelled, the read goes on and serves the next call of `next`."""

    def __init__(self, read: Callable[[], Coroutine[Any, Any, Item]]) -> None:
        self._read = read
        self._task: asyncio.Task[Item] | None = None

    async def next(self) -> Item:
        """What the read gives. Raises what it raises; EOFError when `close` has ended it."""
        task = self._task = self._task or asyncio.create_task(self._read())
        await asyncio.wait((task,))
        self._task = None
        if task.cancelled():
            raise EOFError("the read was cancelled")
        return task.result()

    async def close(self) -> None:
        """Cancel the read that is going on, if any, and wait for its end."""
        if self._task:
            self._task.cancel()
            await asyncio.wait((self._task,))
