"""What the directory knows, as tables for people and as one object for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from orchestration.cluster.reports import Counts, DeviceStatus, ReplicaStatus, Snapshot

STYLES = {"serving": "green", "answering": "green", "idle": "dim", "draining": "yellow", "silent": "bold red"}
REPLICA_COLUMNS = (
    "replica", "state", "address", "node", "sessions", "slots", "queue", "rounds", "accepted", "tokens", "tokens/s", "batch", "forward",
    "up/token", "down/token", "restarts",
)  # fmt: skip
DEVICE_COLUMNS = ("device", "state", "link", "drafter", "at", "responses", "rounds", "accepted", "tokens", "reconnects", "restarts")
SPARE = (
    "node",
    "up/token",
    "down/token",
    "restarts",
    "drafter",
    "slots",
    "batch",
    "reconnects",
    "queue",
    "rounds",
    "forward",
    "at",
)  # what a narrow terminal does without, the first first
GAP = 2  # characters between columns


def shown(now: Snapshot, before: Snapshot | None = None) -> Group:
    """Both tables. Speeds are those since `before`; without it, there are none."""
    seconds = now.uptime_s - before.uptime_s if before else 0.0
    earlier = {status.report.name: status.counts for status in before.replicas} if before else {}
    replicas = Fitting(REPLICA_COLUMNS, [replica_row(replica, _speed(replica, earlier, seconds)) for replica in now.replicas])
    devices = Fitting(DEVICE_COLUMNS, [device_row(device) for device in now.devices])
    shards = now.settings.replicas.shards
    head = f"up {_duration(now.uptime_s)}, {len(now.replicas)} of {now.settings.replicas.count} replicas known, {shards} shards each"
    return Group(Text(head, style="bold"), replicas, *([devices] if now.devices else []))


class Fitting:
    """A table that does without its least needed columns where there is no room for all, and says so."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
        self.columns = columns
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich: called with the room that there is."""
        left_out = self._left_out(options.max_width)
        table = Table(box=None, pad_edge=False, header_style="bold")
        words = {"replica", "device", "state", "address", "node", "link", "drafter", "at"}
        for column in self.columns:
            if column not in left_out:
                table.add_column(column, justify="left" if column in words else "right", no_wrap=column in ("replica", "device", "state"))
        for row in self.rows:
            table.add_row(*(cell for column, cell in zip(self.columns, row, strict=True) if column not in left_out))
        yield table
        if left_out:
            yield Text(f"(a wider terminal shows also: {', '.join(left_out)})", style="dim")

    def _left_out(self, width: int) -> list[str]:
        lengths = [max(map(_length, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        needed = dict(zip(self.columns, lengths, strict=True))
        left_out: list[str] = []
        for column in SPARE:
            if sum(needed.values()) + GAP * (len(needed) - 1) <= width:
                break
            if needed.pop(column, None) is not None:
                left_out.append(column)
        return left_out


def replica_row(status: ReplicaStatus, tokens_per_s: float | None) -> list[str | Text]:
    """One replica's cells, in the order of REPLICA_COLUMNS."""
    report, counts = status.report, status.counts
    load, emitted = report.served.load, counts.get("emitted", 0.0)
    return [
        report.name,
        _state(status.state, status.silent_s),
        report.address,
        report.node,
        f"{load.sessions}/{load.session_limit}",
        f"{report.slots_in_use}/{report.slots}",
        str(load.queued_rows),
        f"{counts.get('rounds', 0):.0f}",
        _ratio(counts.get("accepted", 0.0), counts.get("rounds", 0.0)),
        f"{emitted:.0f}",
        "—" if tokens_per_s is None else f"{tokens_per_s:.1f}",
        _ratio(counts.get("sequences", 0.0), counts.get("forwards", 0.0)),
        _milliseconds(counts),
        _ratio(counts.get("bytes_up", 0.0), emitted),
        _ratio(counts.get("bytes_down", 0.0), emitted),
        str(status.restarts),
    ]


def device_row(status: DeviceStatus) -> list[str | Text]:
    """One device's cells, in the order of DEVICE_COLUMNS."""
    report, counts = status.report, status.counts
    return [
        report.name,
        _state(status.state, status.silent_s),
        report.link,
        report.drafter,
        report.replica or "—",
        f"{counts.get('responses', 0):.0f}",
        f"{counts.get('rounds', 0):.0f}",
        _ratio(counts.get("accepted", 0.0), counts.get("rounds", 0.0)),
        f"{counts.get('tokens', 0):.0f}",
        f"{counts.get('reconnects', 0):.0f}",
        str(status.restarts),
    ]


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Everything in the snapshot, in JSON's own types; digests in hexadecimal."""
    known: dict[str, Any] = _plain(
        {
            "uptime_s": snapshot.uptime_s,
            "is_local": snapshot.is_local,
            "settings": snapshot.settings.model_dump(mode="json"),
            "replicas": [asdict(replica) for replica in snapshot.replicas],
            "devices": [asdict(device) for device in snapshot.devices],
        }
    )
    return known


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _state(state: str, silent_s: float) -> Text:
    words = f"silent for {_duration(silent_s)}" if state == "silent" else state
    return Text(words, style=STYLES[state])


def _speed(status: ReplicaStatus, earlier: Mapping[str, Counts], seconds: float) -> float | None:
    counts = earlier.get(status.report.name)
    if counts is None or seconds <= 0:
        return None
    return max(status.counts.get("emitted", 0.0) - counts.get("emitted", 0.0), 0.0) / seconds


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole else "—"


def _milliseconds(counts: Counts) -> str:
    forwards = counts.get("forwards", 0.0)
    return f"{counts.get('forward_s', 0.0) / forwards * 1e3:.1f} ms" if forwards else "—"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _length(cell: str | Text) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell_len(cell)
