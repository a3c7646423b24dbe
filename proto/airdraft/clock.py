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

    def close(self) -> None:
        """Compute nothing more."""
        ...


class WallClock:
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

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)
