"""Which session's tokens each cache slot holds, and who gets a slot next. It knows lengths and owners, not keys and values."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from airdraft.errors import CapacityError, InternalError
from airdraft.prefix import Prefix


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence of the cache. `tokens` are those whose keys and values it holds, from position 0 on."""

    index: int
    tokens: list[int] = field(default_factory=list)
    owner: str | None = None  # session id
    attached: bool = False  # whether the owner has a connection; a slot of an absent owner goes first
    pinned: bool = False  # whether the owner is computing in it; such a slot is never given away
    used: int = 0  # when it was last acquired, as a count of acquisitions


class Hold:
    """A pinned slot, to be used in a `with`. On leaving, the slot is known to hold the first `keep` tokens of its owner's text at most."""

    __slots__ = ("_slot", "_table", "keep")

    def __init__(self, table: SlotTable, slot: Slot, keep: int) -> None:
        self._table = table
        self._slot = slot
        self.keep = keep  # tokens; the committed ones when acquired, more once a verdict has made them so

    @property
    def slot(self) -> int:
        """Its number, as the target counts them."""
        return self._slot.index

    @property
    def cached(self) -> int:
        """Tokens of its owner's text that the slot holds."""
        return len(self._slot.tokens)

    def cut(self, length: int) -> None:
        """Take the slot to hold `length` tokens at most: what a forward is about to overwrite is not to be relied on until it is done."""
        del self._slot.tokens[length:]

    def fed(self, position: int, tokens: Sequence[int]) -> None:
        """A forward has put `tokens` at `position`. Raises InternalError when the slot held nothing right before them."""
        if position > len(self._slot.tokens):
            raise InternalError(f"slot {self.slot} holds {len(self._slot.tokens)} tokens, yet was fed from position {position} on")
        self._slot.tokens[position:] = tokens

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut(self.keep)
        self._table.release(self._slot)


@dataclass(slots=True, eq=False)
class _Waiter:
    session_id: str
    text: Prefix
    granted: asyncio.Future[Hold]


class SlotTable:
    """All slots. A session keeps its slot between rounds until another one needs it and it was the least recently used.

    Every unpinned slot that has an owner holds a prefix of that owner's committed text (what makes `cached` a length, not a comparison).
    """

    def __init__(self, slots: int, wait_s: float, *, share_prefixes: bool = True) -> None:
        self._slots = [Slot(index) for index in range(slots)]
        self._by_owner: dict[str, Slot] = {}
        self._waiters: deque[_Waiter] = deque()
        self._idle = slots  # not pinned
        self._acquisitions = 0
        self._wait_s = wait_s
        self._share_prefixes = share_prefixes

    async def acquire(self, session_id: str, text: Prefix) -> Hold:
        """A slot for this session, pinned; it holds the first `cached` tokens of `text`, the rest must be fed.

        Waits in line while every slot is computing. Raises CapacityError when that takes longer than the allowed wait.
        """
        waiter = _Waiter(session_id, text, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._serve()
        if waiter.granted.done():
            return waiter.granted.result()
        try:
            async with asyncio.timeout(self._wait_s):
                return await waiter.granted
        except BaseException as error:
            self._leave_line(waiter)
            if isinstance(error, TimeoutError):
                raise CapacityError(
                    f"all {len(self._slots)} cache slots were computing for {self._wait_s:g} s. Resume later, or serve with more slots.",
                    retry_after_s=self._wait_s,
                ) from None
            raise

    def release(self, slot: Slot) -> None:
        """Unpin, and let those who wait have what is free now."""
        self._idle += slot.pinned
        slot.pinned = False
        self._serve()

    def arrive(self, session_id: str) -> None:
        """The session has a connection again."""
        if session_id in self._by_owner:
            self._by_owner[session_id].attached = True

    def depart(self, session_id: str) -> None:
        """The session has lost its connection: its slot is the first to go, yet still its own while nobody needs it."""
        if session_id in self._by_owner:
            self._by_owner[session_id].attached = False

    def forget(self, session_id: str) -> None:
        """The session will not come back: its slot is free. What it holds may serve as another session's prefix."""
        slot = self._by_owner.pop(session_id, None)
        if slot is not None:
            slot.owner, slot.attached = None, False

    def view(self) -> tuple[Slot, ...]:
        """The slots as they are, for tests and diagnosis; raises InternalError when the table contradicts itself."""
        owners = {slot.owner: slot for slot in self._slots if slot.owner is not None}
        if owners != self._by_owner or len(owners) != sum(slot.owner is not None for slot in self._slots):
            raise InternalError("the slot table and its index of owners disagree")
        if self._idle != sum(not slot.pinned for slot in self._slots):
            raise InternalError("the slot table has miscounted its idle slots")
        return tuple(self._slots)

    def _serve(self) -> None:
        """In order of arrival; one who waits for its own slot, still computing for its older stream, holds up nobody."""
        for waiter in list(self._waiters):
            if waiter.granted.done() or not (self._idle or waiter.session_id in self._by_owner):
                continue
            hold = self._grant(waiter.session_id, waiter.text)
            if hold is not None:
                self._waiters.remove(waiter)
                waiter.granted.set_result(hold)

    def _grant(self, session_id: str, text: Prefix) -> Hold | None:
        slot = self._by_owner.get(session_id)
        if slot is None:
            slot = self._choose(text)
            if slot is None:
                return None
            self._hand_over(slot, session_id, text)
        if slot.pinned:
            return None
        self._acquisitions += 1
        slot.pinned, slot.attached, slot.used = True, True, self._acquisitions
        self._idle -= 1
        return Hold(self, slot, keep=len(text))

    def _choose(self, text: Prefix) -> Slot | None:
        """A slot without an owner that shares the longest prefix; else one whose owner is absent; else the least recently used."""
        idle = [slot for slot in self._slots if not slot.pinned]
        free = [slot for slot in idle if slot.owner is None]
        if free and self._share_prefixes:
            tokens = text.tokens()
            return min(free, key=lambda slot: (-shared_length(slot.tokens, tokens), slot.used))
        return min(free or idle, key=lambda slot: (slot.attached, slot.used), default=None)

    def _hand_over(self, slot: Slot, session_id: str, text: Prefix) -> None:
        if slot.owner is not None:
            del self._by_owner[slot.owner]
        slot.owner = session_id
        self._by_owner[session_id] = slot
        del slot.tokens[shared_length(slot.tokens, text.tokens()) if self._share_prefixes else 0 :]

    def _leave_line(self, waiter: _Waiter) -> None:
        """Also when the slot came in the same moment as the end of the wait: then it goes to the next in line."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.granted.done() and not waiter.granted.cancelled():
            with waiter.granted.result():
                pass


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix. Compares whole stretches first, so that equal texts cost little."""
    low, high = 0, min(len(one), len(other))
    step = high
    while low < high:
        step = min(step, high - low)
        if list(one[low : low + step]) == list(other[low : low + step]):
            low += step
        else:
            high = low + step - 1
            step = max((high - low + 1) // 2, 1)
    return low
