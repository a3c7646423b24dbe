"""Ways to run batches of cells on this machine: one after the other, or in a pool of processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from orchestration.sweep.work import Batch, Finished, run_batch

DIED = "the process that ran this cell was killed, perhaps for want of memory; run the sweep again"


class Executor(Protocol):
    """Runs batches somewhere, and hands back their cells as they finish, in any order."""

    @property
    def workers(self) -> int:
        """Batches that run at once."""
        ...

    def run(self, batches: Sequence[Batch]) -> Iterator[list[Finished]]:
        """Every cell of every batch comes back once, finished or failed. Closing the iterator gives up what has not been done."""
        ...


class Inline:
    """In this process, one batch after the other."""

    workers = 1

    def run(self, batches: Sequence[Batch]) -> Iterator[list[Finished]]:
        """See `Executor.run`."""
        for batch in batches:
            yield run_batch(batch)


class Processes:
    """In processes of their own. When one dies, what was under way is run again cell by cell, so that only the culprit fails."""

    def __init__(self, workers: int, work: Callable[[Batch], list[Finished]] = run_batch) -> None:
        self.workers = workers
        self._work = work

    def run(self, batches: Sequence[Batch]) -> Iterator[list[Finished]]:
        """See `Executor.run`."""
        waiting = deque(batches)
        while waiting:
            suspects: list[Batch] = []
            yield from self._until_one_dies(waiting, suspects)
            for batch in suspects:
                for single in singles(batch):
                    yield from self._alone(single)

    def _until_one_dies(self, waiting: deque[Batch], suspects: list[Batch]) -> Iterator[list[Finished]]:
        """Take batches from `waiting` until it is empty, or a process has died: then `suspects` has those under way."""
        others = set(multiprocessing.active_children())
        with self._pool() as pool:
            running: dict[Future[list[Finished]], Batch] = {}
            try:
                while (waiting and not suspects) or running:
                    while waiting and not suspects and len(running) < self.workers:
                        batch = waiting.popleft()
                        running[pool.submit(self._work, batch)] = batch
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        batch = running.pop(future)
                        if isinstance(future.exception(), BrokenProcessPool):
                            suspects.append(batch)
                        else:
                            yield future.result()
            finally:
                if running:  # given up: nobody waits for what is under way
                    for process in set(multiprocessing.active_children()) - others:
                        process.terminate()

    def _alone(self, batch: Batch) -> Iterator[list[Finished]]:
        with self._pool(1) as pool:
            try:
                yield pool.submit(self._work, batch).result()
            except BrokenProcessPool:
                yield failed(batch, DIED)

    def _pool(self, workers: int | None = None) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers or self.workers, mp_context=multiprocessing.get_context("spawn"))


def singles(batch: Batch) -> list[Batch]:
    """A batch for each of its cells."""
    return [Batch((cell,), batch.keep_journals) for cell in batch.cells]


def failed(batch: Batch, why: str) -> list[Finished]:
    """All cells of a batch, failed."""
    return [Finished(cell.key, failure=why) for cell in batch.cells]
