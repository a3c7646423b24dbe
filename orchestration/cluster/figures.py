"""Which figures a replica and a device give to the outside, with their names and words: one table for metrics and dashboards. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestration.cluster.reports import DeviceReport, ReplicaReport

Report = TypeVar("Report", ReplicaReport, DeviceReport)


@dataclass(frozen=True, slots=True)
class Figure(Generic[Report]):
    """One figure. `grows`: a sum since the process's start; else a state that comes and goes."""

    name: str  # without the unit's prefix; Prometheus shows ray_<name>, with _total after a sum
    words: str
    read: Callable[[Report], float]
    grows: bool = False


def _sum(prefix: str, name: str, words: str) -> Figure[Report]:
    def read(report: Report) -> float:
        return report.counts.get(name, 0.0)

    return Figure(f"airdraft_{prefix}{_with_unit(name)}", words, read, grows=True)


def _with_unit(name: str) -> str:
    return f"{name.removesuffix('_s')}_seconds" if name.endswith("_s") else name


REPLICA_FIGURES: tuple[Figure[ReplicaReport], ...] = (
    Figure("airdraft_sessions", "unfinished sessions, connected or not", lambda report: report.served.load.sessions),
    Figure("airdraft_session_limit", "sessions that fit", lambda report: report.served.load.session_limit),
    Figure("airdraft_queued_rows", "rows that wait for a forward", lambda report: report.served.load.queued_rows),
    Figure("airdraft_slots", "cache slots", lambda report: report.slots),
    Figure("airdraft_slots_in_use", "cache slots that a session owns", lambda report: report.slots_in_use),
    Figure("airdraft_draining", "1 while it takes nobody new", lambda report: report.served.load.draining),
    _sum("", "opened", "sessions opened"),
    _sum("", "resumed", "sessions resumed after a cut"),
    _sum("", "finished", "responses that ended"),
    _sum("", "rounds", "drafts judged"),
    _sum("", "drafted", "tokens of judged drafts"),
    _sum("", "accepted", "draft tokens accepted"),
    _sum("", "stale", "drafts answered as stale"),
    _sum("", "emitted", "tokens committed, in whatever way"),
    _sum("", "streamed", "tokens committed in stream mode"),
    _sum("", "errors", "streams that ended with an error"),
    _sum("", "forwards", "forwards of the target"),
    _sum("", "sequences", "sequences in those forwards; divided by forwards: the batch size"),
    _sum("", "rows", "rows in those forwards"),
    _sum("", "forward_s", "seconds spent in those forwards"),
    _sum("", "bytes_up", "bytes of messages from devices"),
    _sum("", "bytes_down", "bytes of messages to devices"),
)

DEVICE_FIGURES: tuple[Figure[DeviceReport], ...] = (
    Figure("airdraft_device_answering", "1 while a response is at work", lambda report: report.is_answering),
    _sum("device_", "responses", "responses answered"),
    _sum("device_", "failures", "responses that failed"),
    _sum("device_", "tokens", "tokens received"),
    _sum("device_", "rounds", "drafts judged"),
    _sum("device_", "drafted", "tokens of judged drafts"),
    _sum("device_", "accepted", "draft tokens accepted"),
    _sum("device_", "reconnects", "streams opened anew within a response"),
    _sum("device_", "draft_s", "seconds spent drafting"),
    _sum("device_", "bytes_up", "bytes of messages sent"),
    _sum("device_", "bytes_down", "bytes of messages received"),
)


def growth(before: Mapping[str, float], figure: Figure[Report], report: Report) -> float:
    """By how much a sum has grown since it was last set."""
    return max(figure.read(report) - before.get(figure.name, 0.0), 0.0)
