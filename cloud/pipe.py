"""A bounded queue between two tasks that either side can close, with or without an error to pass on."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from airdraft.errors import AirdraftError

Item = TypeVar("Item")


class Pipe(Generic[Item]):
    """One task puts, one task gets. What was put before the closing is still delivered; what is put after it is dropped."""

    def __init__(self, bound: int) -> None:
        self._items: deque[Item] = deque()
        self._bound = bound
        self._changed = asyncio.Event()
        self._error: AirdraftError | None = None
        self.closed = False

    @property
    def full(self) -> bool:
        """Whether the next `put` would have to wait."""
        return len(self._items) >= self._bound and not self.closed

    async def room(self) -> None:
        """Wait until one more fits, or nothing will be read any more."""
        while self.full:
            await self._change()

    async def put(self, item: Item) -> None:
        """Put as soon as there is room."""
        await self.room()
        self.push(item)

    def push(self, item: Item) -> None:
        """Put at once; for a caller that has seen to the room."""
        if not self.closed:
            self._items.append(item)
            self._changed.set()

    async def get(self) -> Item | None:
        """The next item; None when closed and empty. Raises the error that it was closed with."""
        while not self._items and not self.closed:
            await self._change()
        return self.poll()

    def poll(self) -> Item | None:
        """The next item if there is one now. Raises the error that an emptied pipe was closed with."""
        if not self._items:
            if self._error is not None:
                raise self._error
            return None
        item = self._items.popleft()
        self._changed.set()
        return item

    def close(self, error: AirdraftError | None = None) -> None:
        """Only the first closing counts."""
        if not self.closed:
            self.closed, self._error = True, error
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
