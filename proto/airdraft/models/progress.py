"""How long work on a model tells its caller how far it is. It draws nothing; the command line does."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told about one piece of work after another: each is started, advances, and is finished (also when it failed)."""

    def started(self, label: str, total_bytes: int | None) -> None:
        """A piece of work begins; `total_bytes` is None when nobody can say how much there is."""

    def advanced(self, count_bytes: int) -> None:
        """This many bytes more are done."""

    def finished(self) -> None:
        """The piece of work begun last is over."""


class Silent:
    """A progress that nobody watches."""

    def started(self, label: str, total_bytes: int | None) -> None:
        """Ignored."""

    def advanced(self, count_bytes: int) -> None:
        """Ignored."""

    def finished(self) -> None:
        """Ignored."""


class Meter:
    """One piece of work, reported by how many bytes are done in all; never moves backwards. A context manager."""

    def __init__(self, progress: Progress, label: str, total_bytes: int | None) -> None:
        self._progress = progress
        self._label = label
        self._total_bytes = total_bytes
        self._reached_bytes = 0

    def __enter__(self) -> Meter:
        self._progress.started(self._label, self._total_bytes)
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.finished()

    def reach(self, done_bytes: int) -> None:
        """Report that `done_bytes` are done in all."""
        if done_bytes > self._reached_bytes:
            self._progress.advanced(done_bytes - self._reached_bytes)
            self._reached_bytes = done_bytes

    def advance(self, count_bytes: int) -> None:
        """Report `count_bytes` more."""
        self.reach(self._reached_bytes + count_bytes)
