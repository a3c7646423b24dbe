"""The journal of a run: what was set, and a record of every response and every round of it, as msgpack.

A file begins with its header; then come, for each response, the response and its rounds. The same run writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from airdraft import __version__
from airdraft.errors import SettingsError
from airdraft.messages import ChannelState, Finish, Outcome, Timings

FORMAT = "airdraft-journal"
VERSION = 1


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One answer of the verifier and what it answered. Times are seconds on the device's clock."""

    kind: str  # "draft"; "stream": decoded by the verifier alone; "open": the answer to Open or Resume
    round: int  # 0 unless a draft
    epoch: int
    position: int  # of the first drafted or committed token
    sent_s: float | None  # None in stream mode, where nothing asks
    arrived_s: float
    draft_s: float  # what the device spent drafting since the draft before
    drafted: tuple[int, ...]
    accepted: int
    tokens: tuple[int, ...]  # newly committed
    outcome: Outcome
    bytes_up: int  # encoded messages, without framing
    bytes_down: int
    channel: ChannelState | None  # as the device told it
    timings: Timings


@dataclass(frozen=True, slots=True)
class ResponseRecord:
    """One response."""

    name: str  # which prompt, or whatever tells it from the others
    device: str
    prompt_length: int
    tokens: tuple[int, ...]  # committed ones, after the prompt
    finish: Finish
    started_s: float
    bursts: tuple[tuple[float, int], ...]  # when committed tokens came, and how many at once
    figures: Mapping[str, float] = field(default_factory=dict)  # sums that the rounds do not show, by name
    rounds: tuple[RoundRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """What a run was: enough to do it again, and to say whether its figures are simulated or real."""

    simulated: bool
    settings: Mapping[str, Any] = field(default_factory=dict)  # plain values, as a TOML file has them
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=lambda: {"airdraft": __version__})
    digests: Mapping[str, str] = field(default_factory=dict)  # of models, tokenizers, traces, recordings: hexadecimal
    sources: Mapping[str, str] = field(default_factory=dict)  # of the machines' figures: measured, cited or assumed


class JournalWriter:
    """Writes a journal into an open binary file, which stays its owner's to close."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file = file
        self._file.write(_pack({"format": FORMAT, "version": VERSION, "rounds": _columns(RoundRecord), **_plain(header)}))

    def write(self, response: ResponseRecord) -> None:
        """Append one response with its rounds."""
        values = _plain(response) | {"rounds": len(response.rounds), "finish": response.finish.name}
        self._file.write(_pack(values))
        for record in response.rounds:
            self._file.write(_pack(_row(record)))


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal read back."""

    header: Header
    responses: tuple[ResponseRecord, ...]


def write_journal(path: Path, header: Header, responses: Sequence[ResponseRecord]) -> None:
    """A whole journal at once; the file appears only when it is complete. Raises SettingsError when it cannot be written."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            writer = JournalWriter(file, header)
            for response in responses:
                writer.write(response)
        partial.replace(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error}. Choose a place that can be written.") from error


def read_journal(path: Path) -> Journal:
    """Raises SettingsError when the file is no journal, of another version, cut off or damaged."""
    try:
        with path.open("rb") as file:
            unpacker = msgpack.Unpacker(file, use_list=False, strict_map_key=False, max_buffer_size=0)
            header, columns = _header(_next(unpacker, "the header"))
            responses = tuple(_responses(unpacker, columns))
    except OSError as error:
        raise SettingsError(f"{path}: {error}. Expected a journal that can be read.") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}") from error
    except (ValueError, TypeError, KeyError, IndexError, msgpack.exceptions.UnpackException) as error:
        raise SettingsError(f"{path}: damaged: {error!r}. Make the run again.") from error
    return Journal(header, responses)


def _header(values: Any) -> tuple[Header, tuple[str, ...]]:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SettingsError(f"not a journal: it does not begin with {FORMAT!r}.")
    if values.get("version") != VERSION:
        raise SettingsError(f"a journal of version {values.get('version')}; this airdraft ({__version__}) reads version {VERSION}.")
    known = {item.name for item in fields(Header)}
    return Header(**{key: value for key, value in values.items() if key in known}), tuple(values["rounds"])


def _responses(unpacker: Any, columns: tuple[str, ...]) -> Iterator[ResponseRecord]:
    number = 0
    while True:
        try:
            values = dict(unpacker.unpack())
        except msgpack.OutOfData:
            return
        number += 1
        rounds = tuple(_round(columns, _next(unpacker, f"response {number}")) for _ in range(values["rounds"]))
        yield ResponseRecord(**(values | {"rounds": rounds, "finish": Finish[values["finish"]]}))


def _next(unpacker: Any, where: str) -> Any:
    try:
        return unpacker.unpack()
    except msgpack.OutOfData:
        raise SettingsError(f"cut off within {where}. Make the run again.") from None


def _row(record: RoundRecord) -> tuple[Any, ...]:
    channel = None if record.channel is None else astuple(record.channel)
    packed = {"outcome": int(record.outcome), "channel": channel, "timings": astuple(record.timings)}
    return tuple(packed[name] if name in packed else getattr(record, name) for name in _columns(RoundRecord))


def _round(columns: Sequence[str], row: Sequence[Any]) -> RoundRecord:
    values = dict(zip(columns, row, strict=True))
    channel = values["channel"]
    values["channel"] = None if channel is None else ChannelState(*channel)
    values["outcome"], values["timings"] = Outcome(values["outcome"]), Timings(*values["timings"])
    return RoundRecord(**values)


def _plain(value: Header | ResponseRecord) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _columns(type(value)) if name != "rounds"}


def _columns(kind: type[Any]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(_sorted(value), use_bin_type=True)
    return packed


def _sorted(value: Any) -> Any:
    """Mappings in the order of their keys, so that equal values are equal bytes."""
    if isinstance(value, Mapping):
        return {str(key): _sorted(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
