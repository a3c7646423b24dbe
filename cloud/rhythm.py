"""When each session's next block is to be expected, learnt from how long its answers were taken to bring one before. Pure of waiting."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVE_S = 2.0  # a session that was answered this long ago is still taken to be working


@dataclass(slots=True)
class _Turnaround:
    answered_at: float
    away: bool = True  # answered, and no new block yet
    mean_s: float | None = None  # from an answer to the next block


class Rhythm:
    """Turnarounds by cache slot, in the seconds of the caller's clock."""

    def __init__(self) -> None:
        self._by_slot: dict[int, _Turnaround] = {}

    def came(self, slot: int, now: float) -> None:
        """A block for this slot was submitted."""
        known = self._by_slot.get(slot)
        if known is None or not known.away:
            return
        taken = now - known.answered_at
        known.mean_s = taken if known.mean_s is None else 0.5 * (known.mean_s + taken)
        known.away = False

    def went(self, slot: int, now: float) -> None:
        """A block for this slot was answered."""
        known = self._by_slot.setdefault(slot, _Turnaround(now))
        known.answered_at, known.away = now, True

    def anyone_due(self, now: float, within_s: float) -> bool:
        """Whether some slot's next block should come within this time; one that is later than that is not waited for."""
        return any(
            known.away and known.mean_s is not None and abs(known.answered_at + known.mean_s - now) <= within_s
            for known in self._by_slot.values()
        )

    def anyone_active(self, now: float, besides: set[int]) -> bool:
        """Whether any other slot was at work lately."""
        return any(slot not in besides and now - known.answered_at <= ACTIVE_S for slot, known in self._by_slot.items())
