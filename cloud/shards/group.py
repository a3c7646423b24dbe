"""The processes of one sharded target, joined by torch.distributed: three collectives, each with a deadline and a failure in words.

It moves tensors and knows no model. Whoever reaches its ports can join in: they belong on a private network.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from airdraft.errors import AirdraftError, ModelError, SettingsError, UnavailableError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

READY = "ready"


@dataclass(frozen=True, slots=True)
class Membership:
    """One process's place in a group. All members state the same, except for `rank`."""

    rank: int
    shards: int
    address: str  # tcp://host:port where rank 0 can be reached, or file:///path on a disk that all share
    backend: Literal["gloo", "nccl"] = "gloo"  # nccl: activations cross between GPUs, commands still by gloo
    timeout_s: float = 30.0  # for every exchange, and for a shard's wait for the next command or heartbeat
    start_timeout_s: float = 600.0  # for all members to arrive, and then for all to have loaded
    threads: int = 0  # torch threads of this process; 0 leaves them as they are

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.shards:
            raise SettingsError(f"rank {self.rank} in a group of {self.shards}; expected 0 to {self.shards - 1}")
        if not (self.timeout_s > 0 and self.start_timeout_s > 0):
            raise SettingsError(f"deadlines of {self.timeout_s} s and {self.start_timeout_s} s; expected both above zero")


class Meeting:
    """Where the members find each other: rank 0 holds it, the others come to its `address`."""

    def __init__(self, store: Store, address: str) -> None:
        self.store, self.address = store, address

    @classmethod
    def host(cls, host: str = "127.0.0.1", port: int = 0, start_timeout_s: float = 600.0) -> Self:
        """Open one on this machine, for rank 0. Port 0: any free one; `address` names it. Raises UnavailableError when taken."""
        return cls._over_tcp(host, port, start_timeout_s, is_host=True)

    @classmethod
    def find(cls, membership: Membership) -> Self:
        """The one at the membership's address. Raises SettingsError for an address of another form, UnavailableError if nobody is there."""
        parts = urlsplit(membership.address)
        if parts.scheme == "tcp" and parts.hostname and parts.port:
            return cls._over_tcp(parts.hostname, parts.port, membership.start_timeout_s, is_host=membership.rank == 0)
        if parts.scheme == "file" and parts.path:
            store = dist.FileStore(parts.path, membership.shards)  # type: ignore[attr-defined]  # torch leaves it out of its types
            return cls(store, membership.address)
        raise SettingsError(f"{membership.address!r} is no meeting place for shards; expected tcp://host:port or file:///path")

    @classmethod
    def _over_tcp(cls, host: str, port: int, timeout_s: float, *, is_host: bool) -> Self:
        try:
            store = dist.TCPStore(  # type: ignore[attr-defined]  # torch leaves it out of its types
                host, port, is_master=is_host, timeout=timedelta(seconds=timeout_s), wait_for_workers=False
            )
        except RuntimeError as error:
            doing = "opened" if is_host else "reached"
            raise UnavailableError(f"the shards' meeting place tcp://{host}:{port} cannot be {doing}: {_first_line(error)}") from error
        return cls(store, f"tcp://{host}:{store.port}")


class ShardGroup:
    """A joined group. Once an exchange has failed, the members are out of step: leave it, and join a new one."""

    def __init__(self, membership: Membership, store: Store) -> None:
        self.membership = membership
        self._store: Store | None = store

    @classmethod
    def join(cls, membership: Membership, meeting: Meeting | None = None) -> Self:
        """Wait for all members, then connect to each. `meeting`: rank 0's own, when it hosts one already.

        Raises UnavailableError naming who did not come within `start_timeout_s`; SettingsError when this process is in a group already.
        """
        if dist.is_initialized():
            raise SettingsError("this process is in a group of shards already; leave that one first, or use a process of its own")
        if membership.threads:
            torch.set_num_threads(membership.threads)
        store = (meeting or Meeting.find(membership)).store
        group = cls(membership, store)
        group._announce("here", READY)
        group._await_all("here", "come")
        devices = "gloo" if membership.backend == "gloo" else "cpu:gloo,cuda:nccl"
        deadline, patience = timedelta(seconds=membership.timeout_s), timedelta(seconds=membership.start_timeout_s)
        with group._in_words("joining"):
            dist.init_process_group(devices, store=store, rank=membership.rank, world_size=membership.shards, timeout=patience)
            distributed_c10d._set_pg_timeout(deadline)  # connecting may take long, exchanges may not; there is no public call
        return group

    @property
    def rank(self) -> int:
        """This process's place: 0 commands."""
        return self.membership.rank

    @property
    def shards(self) -> int:
        """How many members there are."""
        return self.membership.shards

    def report_ready(self, fault: AirdraftError | None = None) -> None:
        """Tell the others that this member is ready, or why it never will be, and wait for theirs.

        Raises ModelError with the words of a member that failed, UnavailableError naming one that has not reported in `start_timeout_s`.
        """
        self._announce("ready", READY if fault is None else fault.message)
        if fault is not None:
            return
        for rank, word in enumerate(self._await_all("ready", "become ready")):
            if word != READY:
                raise ModelError(f"shard {rank} of {self.shards} could not start: {word}")

    def broadcast(self, frame: torch.Tensor) -> None:
        """Rank 0's frame into everyone's, in place. Raises UnavailableError, as all that follow."""
        with self._in_words("a command"):
            dist.broadcast(frame, src=0)

    def add_up(self, partial: torch.Tensor) -> torch.Tensor:
        """The sum over all members of their `partial` [...], in float32 and in the order of ranks, rounded once to its own type.

        The order never depends on how many rows there are, which a ring reduction's does from three members on.
        """
        parts = torch.empty((self.shards, *partial.shape), dtype=partial.dtype, device=partial.device)
        with self._in_words("adding up a layer"):
            dist.all_gather(list(parts.unbind()), partial.contiguous())
        total = parts[0].float()
        for part in parts[1:]:
            total += part
        return total.to(partial.dtype)

    def collect(self, part: torch.Tensor) -> list[torch.Tensor]:
        """On rank 0 everyone's `part`, by rank; on the others an empty list. All parts have one shape."""
        parts = [torch.empty_like(part) for _ in range(self.shards)] if self.rank == 0 else []
        with self._in_words("collecting rows"):
            dist.gather(part.contiguous(), parts or None, dst=0)
        return parts

    def leave(self) -> None:
        """Close the connections; whoever still waits for this member fails at once. May be called twice."""
        if self._store is None:
            return
        self._store = None
        if dist.is_initialized():
            with contextlib.suppress(RuntimeError):  # a broken group is left as well
                dist.destroy_process_group()

    def _announce(self, key: str, word: str) -> None:
        with self._in_words("the meeting place"):
            self._open_store().set(f"{key}/{self.rank}", word)

    def _await_all(self, key: str, what: str) -> list[str]:
        store, deadline_s = self._open_store(), self.membership.start_timeout_s
        names = [f"{key}/{rank}" for rank in range(self.shards)]
        try:
            store.wait(names, timedelta(seconds=deadline_s))
            return [store.get(name).decode() for name in names]
        except RuntimeError as error:
            raise UnavailableError(f"not all of {self.shards} shards have {what} within {deadline_s:g} s: {_first_line(error)}") from error

    def _open_store(self) -> Store:
        if self._store is None:
            raise UnavailableError(f"shard {self.rank} has left its group; join a new one")
        return self._store

    @contextlib.contextmanager
    def _in_words(self, doing: str) -> Iterator[None]:
        self._open_store()
        try:
            yield
        except (RuntimeError, ValueError) as error:  # ValueError: the group was left meanwhile
            raise UnavailableError(
                f"{doing} failed on shard {self.rank} of {self.shards}: another shard has ended or was silent for "
                f"{self.membership.timeout_s:g} s ({_first_line(error)}). Start the group anew."
            ) from error.with_traceback(None)  # its frames would keep the connections open, and the others waiting, after leaving


def _first_line(error: Exception) -> str:
    """What torch says of a failure, without where in its sources and without its advice."""
    line = (str(error).splitlines() or [repr(error)])[0]
    return re.sub(r"^\[[^\]]*\] ", "", line).split(". ")[0][:300]
