"""The seam through which everything that takes time goes: now, sleep, compute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Work:
    """What a piece of computing consists of, so that a virtual clock can charge a machine for it."""

    kind: str  # "draft", "prefill" or "verify"
    tokens: int
    sequences: int = 1


class Clock(Protocol):
    """Time as one machine sees it. Each clock stands for one machine that computes one thing at a time."""

    def now(self) -> float:
        """Seconds since some fixed moment, never going back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        ...

    async def compute(self, work: Work, run: Callable[[], Result]) -> Result:
        """Do `run` without blocking the event loop; what it raises, this raises."""
        ...

    async def compute_each(self, upcoming: Callable[[], Work | None], run: Callable[[], object]) -> None:
        """Do `run` once for each piece of work that `upcoming` names just before it, until that is None.

        Both are called where `compute` runs. A clock may do the pieces in one go; each is charged as its own. When the wait is cancelled,
        the piece that runs is the last.
        """
        while (work := upcoming()) is not None:
            await self.compute(work, run)

    def close(self) -> None:
        """Compute nothing more."""
        ...


class WallClock(Clock):
    """Real time. `compute` runs on one thread of its own, so computations queue and never overlap."""

    def __init__(self, name: str = "compute") -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def now(self) -> float:
        """Seconds of the process's performance counter."""
        return time.perf_counter()

    async def sleep(self, seconds: float) -> None:
        """Really sleep."""
        await asyncio.sleep(seconds)

    async def compute(self, work: Work, run: Callable[[], Result]) -> Result:
        """Run on the compute thread, after what was asked before."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, run)

    async def compute_each(self, upcoming: Callable[[], Work | None], run: Callable[[], object]) -> None:
        """All pieces with one change of threads: there and back costs 0.4 ms where a model's weights have just passed the caches."""
        given_up = False

        def pieces() -> None:
            while not given_up and upcoming() is not None:
                run()

        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, pieces)
        finally:
            given_up = True

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)
