"""Calls to named actors, with deadlines and with errors in our words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from airdraft.errors import AirdraftError, DeadlineError, InternalError, UnavailableError
from orchestration.cluster import names
from orchestration.cluster.ray_connection import require_ray

CONTROL = "control"  # the concurrency group of calls that must not wait behind responses
GONE_DEADLINE_S = 30.0


def controllable(kind: type) -> Any:
    """A class as Ray's kind of actor, with threads for the calls that must not wait."""
    return require_ray().remote(concurrency_groups={CONTROL: 4})(kind)


def call(name: str, method: str) -> Any:
    """A control call on a named actor; None when it is gone."""
    found = actor(name)
    return None if found is None else getattr(found, method).options(concurrency_group=CONTROL).remote()


def actor(name: str) -> Any:
    """The named actor; None when there is none."""
    try:
        return require_ray().get_actor(name, names.NAMESPACE)
    except ValueError:
        return None


def result(asked: Any, within_s: float, who: str) -> Any:
    """What a call answers. Raises the AirdraftError that it raised.

    UnavailableError when the actor is gone, DeadlineError when it is slow, InternalError for a fault of its own.
    """
    if asked is None:
        raise UnavailableError(f"{who} is gone. See: airdraft status")
    with in_our_words(who, within_s):
        return require_ray().get(asked, timeout=within_s)


@contextmanager
def in_our_words(who: str, within_s: float = 0.0) -> Iterator[None]:
    """What Ray raises in the block, as `result` raises it."""
    ray = require_ray()
    try:
        yield
    except ray.exceptions.GetTimeoutError as error:
        raise DeadlineError(f"{who} was not there within {within_s:g} s.") from error
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, AirdraftError):
            raise cause from error
        raise InternalError(f"{who} failed: {cause!r}. Its log is among Ray's, under /tmp/ray/session_latest/logs.") from error
    except ray.exceptions.RayError as error:
        raise UnavailableError(f"{who} died: {str(error).strip().splitlines()[0]} Its log is among Ray's.") from error


def kill(actors: Sequence[str]) -> None:
    """Kill actors for good, and wait until their names are free."""
    ray = require_ray()
    for name in actors:
        if (found := actor(name)) is not None:
            ray.kill(found)
    until = time.monotonic() + GONE_DEADLINE_S
    while time.monotonic() < until and any(actor(name) is not None for name in actors):
        time.sleep(0.05)


def remove_group(name: str) -> None:
    """Give back what a placement group reserved; nothing when there is none."""
    ray = require_ray()
    try:
        ray.util.remove_placement_group(ray.util.get_placement_group(name))
    except ValueError:
        return  # there is none


def offered() -> str:
    """What the nodes have, in words."""
    nodes = [
        f"{node['NodeManagerAddress']} { ({**node['Resources']}) } {node['Labels']}" for node in require_ray().nodes() if node["Alive"]
    ]
    return f"The Ray cluster has {len(nodes)} nodes: {'; '.join(nodes)}."
