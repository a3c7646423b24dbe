"""Time that jumps: an event loop whose timers fire as soon as nothing else is left to do, and a clock that charges for computing."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from airdraft.clock import Clock, Work


class _JumpingSelector(selectors.SelectSelector):
    """Where a real loop would sleep until its next timer, this one moves the time there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits, and no timer is set: nothing would ever happen again")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class VirtualClock(Clock):
    """One machine on a virtual loop; `fixed_s` per forward and `row_s` per token of it."""

    def __init__(self, fixed_s: float = 0.02, row_s: float = 0.001) -> None:
        self._fixed_s = fixed_s
        self._row_s = row_s
        self._machine = asyncio.Lock()
        self.work: list[Work] = []

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def compute(self, work: Work, run: Callable[[], Any]) -> Any:
        async with self._machine:
            self.work.append(work)
            await asyncio.sleep(self._fixed_s + self._row_s * work.tokens)
            return run()

    def close(self) -> None:
        pass


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a virtual loop. An hour in it takes no longer than what it computes."""

    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*arguments, **keywords))

    return run
