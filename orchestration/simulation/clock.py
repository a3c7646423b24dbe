"""One simulated machine: it really does what it is asked to compute, and takes the virtual time that its profile says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from airdraft.clock import Clock, Work
from orchestration.simulation.profile import MachineProfile

Result = TypeVar("Result")


class VirtualClock(Clock):
    """A `Clock` on a virtual loop. Computations queue in the order in which they were asked for; one runs at a time.

    As on a real machine, one that has begun is finished even if nobody waits for it any more, and one that has not is dropped.
    """

    def __init__(self, machine: MachineProfile) -> None:
        self.machine = machine
        self.busy_s = 0.0  # sum of what was charged
        self._turn = asyncio.Lock()
        self._busy_until_s = 0.0

    def now(self) -> float:
        """Virtual seconds since the loop began."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    async def compute(self, work: Work, run: Callable[[], Result]) -> Result:
        """Do `run` at once, when the machine is free, and hand over what came of it when the machine's time for it is over.

        Raises SettingsError for work that the profile has no figures for, and what `run` raises, after the same time.
        """
        seconds = self.machine.seconds(work)
        async with self._turn:
            if self._busy_until_s > self.now():  # an abandoned computation still runs
                await asyncio.sleep(self._busy_until_s - self.now())
            self._busy_until_s = self.now() + seconds
            self.busy_s += seconds
            try:
                result = run()
            except Exception:
                await asyncio.sleep(seconds)
                raise
            await asyncio.sleep(seconds)
            return result

    def close(self) -> None:
        """Nothing is held."""
