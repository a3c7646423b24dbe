"""How far a piece of work is: a bar with speed and time left on a terminal, a plain line now and then elsewhere. All on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

LINE_EVERY_S = 10.0


class WhenKnown(ProgressColumn):
    """A column that stays empty for a piece of work whose size nobody knows."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self._column = column

    def render(self, task: Task) -> RenderableType:
        """The column, or nothing."""
        return self._column(task) if task.total is not None else ""


class Bars:
    """`airdraft.models.Progress` as bars; one per piece of work, gone when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: list[TaskID] = []
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            *map(WhenKnown, (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def started(self, label: str, total_bytes: int | None) -> None:
        """A piece of work begins."""
        self._tasks.append(self._progress.add_task(label, total=total_bytes))

    def advanced(self, count_bytes: int) -> None:
        """This many bytes more are done."""
        if self._tasks:
            self._progress.advance(self._tasks[-1], count_bytes)

    def finished(self) -> None:
        """The piece of work begun last is over."""
        if self._tasks:
            self._progress.remove_task(self._tasks.pop())


@dataclass(slots=True)
class _Piece:
    label: str
    total_bytes: int | None
    started_s: float
    said_s: float
    done_bytes: int = 0


class Lines:
    """`airdraft.models.Progress` as plain lines: one at the start of each piece of work, then one every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pieces: list[_Piece] = []

    def started(self, label: str, total_bytes: int | None) -> None:
        """A piece of work begins."""
        now_s = time.monotonic()
        self._pieces.append(_Piece(label, total_bytes, now_s, now_s))
        self._say(label if total_bytes is None else f"{label}: {size(total_bytes)}")

    def advanced(self, count_bytes: int) -> None:
        """This many bytes more are done."""
        if not self._pieces:
            return
        piece, now_s = self._pieces[-1], time.monotonic()
        piece.done_bytes += count_bytes
        if now_s - piece.said_s >= LINE_EVERY_S:
            piece.said_s = now_s
            self._say(progress_line(piece.label, piece.done_bytes, piece.total_bytes, now_s - piece.started_s))

    def finished(self) -> None:
        """The piece of work begun last is over."""
        if self._pieces:
            self._pieces.pop()

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False)


def progress_line(label: str, done_bytes: int, total_bytes: int | None, elapsed_s: float) -> str:
    """One line about a piece of work under way: how much, how fast, how long still."""
    rate_bps = done_bytes / max(elapsed_s, 1e-9)
    if not total_bytes:
        return f"{label}: {size(done_bytes)}, {size(rate_bps)}/s"
    left_s = (total_bytes - done_bytes) / rate_bps if rate_bps > 0 else float("inf")
    return f"{label}: {100 * done_bytes / total_bytes:.0f} % of {size(total_bytes)}, {size(rate_bps)}/s, {left_s:.0f} s left"


def size(count_bytes: float) -> str:
    """Bytes for people, in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count_bytes >= factor:
            return f"{count_bytes / factor:.2f} {unit}"
    return f"{count_bytes:.0f} B"


@contextmanager
def watched(console: Console) -> Iterator[Bars | Lines]:
    """The progress that suits the console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    with Bars(console) as bars:
        yield bars
