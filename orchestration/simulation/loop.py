"""An asyncio event loop whose time jumps to the next timer as soon as nothing is left to do. It knows no files, sockets or threads."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack

from airdraft.errors import InternalError

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")
Callback = Callable[[Unpack[Arguments]], object]

HORIZON_S = 365 * 86_400.0  # a simulation that gets this far goes round in circles
NAMED_TASKS = 12  # most waiting tasks that a report of standstill names


class VirtualLoop(asyncio.BaseEventLoop):
    """Callbacks run in the order in which they became due, timers of one moment in the order in which they were set: nothing is left to
    chance, so that two runs of the same program do the same.

    What would wait for the outside world is refused: a simulated machine computes through its clock, not on a thread.
    """

    _scheduled: list[asyncio.TimerHandle]  # asyncio's own heap of timers

    def __init__(self, horizon_s: float = HORIZON_S) -> None:
        super().__init__()
        self._now_s = 0.0
        self._horizon_s = horizon_s
        self._timers_set = 0
        self._selector = self  # asyncio asks it for events of the outside world, and to wait until the next timer

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    def call_at(
        self, when: float, callback: Callback[*Arguments], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, with timers of the same moment kept in order."""
        self._timers_set += 1
        timer = _OrderedTimer(self._timers_set, when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        return timer

    def call_later(
        self, delay: float, callback: Callback[*Arguments], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def select(self, timeout: float | None) -> list[Any]:
        """Instead of waiting, move the time on. Raises InternalError when nothing would ever happen again."""
        if timeout is None:
            self._report("no timer is set and no task can go on")
        if timeout > 0:
            self._now_s = max(self._now_s, self._scheduled[0].when())
            if self._now_s > self._horizon_s:
                self._report(f"it has run past its horizon of {self._horizon_s:g} s")
        return []

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]  # refused
        """Raises InternalError: while a thread works, virtual time would run away."""
        raise InternalError("threads cannot be used in a simulation; compute through the machine's clock")

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody need be woken."""

    def _report(self, why: str) -> NoReturn:
        tasks = [task for task in asyncio.all_tasks(self) if not task.done()]
        waiting = sorted((_describe(task) for task in tasks), key=lambda pair: pair[0])
        named = "; ".join(words for _, words in waiting[:NAMED_TASKS]) or "none"
        more = f" and {len(waiting) - NAMED_TASKS} more" if len(waiting) > NAMED_TASKS else ""
        raise InternalError(f"the simulation stands still: at {self._now_s:.6g} s {why}. Waiting tasks: {named}{more}.")


class _OrderedTimer(asyncio.TimerHandle):
    """A timer that comes after those of the same moment that were set before it."""

    __slots__ = ("_number",)
    _when: float
    _scheduled: bool

    def __init__(self, number: int, when: float, callback: Callable[..., object], args: Any, loop: VirtualLoop, context: Any) -> None:
        super().__init__(when, callback, args, loop, context)
        self._number = number
        self._scheduled = True  # asyncio notes this of timers in its heap, to count those that were cancelled

    def __lt__(self, other: Any) -> bool:
        return bool(self._when < other._when or (self._when == other._when and self._number < other._number))


def run(main: Coroutine[Any, Any, Result], *, horizon_s: float = HORIZON_S) -> Result:
    """Run `main` from time 0 to its end on a loop of its own, and answer with its result.

    Raises InternalError ("the simulation stands still: …") when every task waits and no timer is set, or when virtual time has
    passed the horizon; and whatever `main` raises.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(horizon_s)) as runner:
        return runner.run(main)


def _describe(task: asyncio.Task[Any]) -> tuple[tuple[int, str], str]:
    """A key to sort by (tasks as they were made), and where the task waits."""
    name = task.get_name()
    frames = task.get_stack(limit=1)
    where = f" at {frames[0].f_code.co_name}:{frames[0].f_lineno}" if frames else ""
    coroutine = getattr(task.get_coro(), "__qualname__", "?")
    number = name.rpartition("-")[2]
    return (int(number) if number.isdecimal() else 0, name), f"{name} {coroutine}{where}"
