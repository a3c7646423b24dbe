"""Who may come in, and how much each may ask: pure decisions from how busy the verifier is."""

from __future__ import annotations

from dataclasses import dataclass

from airdraft.errors import CapacityError, DrainingError

RETRY_AFTER_S = 1.0  # when nothing better is known


@dataclass(frozen=True, slots=True)
class Limits:
    """What one verifier can take."""

    sessions: int  # unfinished ones
    max_draft: int  # tokens
    max_rows: int  # of one forward
    queue_rows: int


def admit(sessions: int, limits: Limits, *, draining: bool, retry_after_s: float = RETRY_AFTER_S) -> None:
    """Whether one more session may come. Raises DrainingError, or CapacityError with the time after which a place may be free."""
    if draining:
        raise DrainingError("this verifier is shutting down and takes no new sessions. Open at another one.")
    if sessions >= limits.sessions:
        raise CapacityError(
            f"all {limits.sessions} places for unfinished sessions are taken. "
            f"Try again in {retry_after_s:.1f} s, or serve with more sessions.",
            retry_after_s=retry_after_s,
        )


def admit_rows(rows: int, queued_rows: int, limits: Limits, rows_per_s: float | None) -> None:
    """Whether a block of `rows` may join the queue; an empty queue takes any. Raises CapacityError with the time the queue will take."""
    if queued_rows == 0 or queued_rows + rows <= limits.queue_rows:
        return
    retry_after_s = queued_rows / rows_per_s if rows_per_s else RETRY_AFTER_S
    raise CapacityError(
        f"{queued_rows} rows are waiting for the target and {limits.queue_rows} may. Resume in {retry_after_s:.1f} s.",
        retry_after_s=retry_after_s,
    )


def draft_limit(active_sessions: int, queued_rows: int, limits: Limits) -> int:
    """Tokens the next draft of each session may have: the most when idle, fewer as forwards and queue fill, never fewer than one.

    A full house of sessions fits into one forward with the limit that each is granted, its token before the draft counted.
    """
    fair = limits.max_rows // max(active_sessions, 1) - 1
    free = 1.0 - queued_rows / limits.queue_rows
    return max(1, min(limits.max_draft, fair, int(limits.max_draft * free)))
