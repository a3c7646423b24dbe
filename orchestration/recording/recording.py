"""A recording: what made it, and its entries; written as compressed msgpack. It knows neither models nor replays."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from airdraft import PROTOCOL_VERSION, __version__
from airdraft.errors import SettingsError
from airdraft.messages import Contract, Finish, RuleChoice
from airdraft.settings import Sampling
from orchestration.recording.entry import COLUMNS, Entry, Predictions

FORMAT = "airdraft-recording"
VERSION = 1
SUFFIX = ".msgpack.z"
EXACT = "exact"  # the rule that asks for nothing but the target's tokens
LARGEST_BYTES = 2**30  # unpacked; what a file may ask of memory


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model, to the byte."""

    name: str
    sha256: str
    dtype: str
    vocabulary_size: int


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Where the prompts came from, and on what terms they may be passed on."""

    name: str
    licence: str
    sha256: str  # of the file that was read
    template: str  # "chat": each prompt was a user's turn in the target's chat template; "raw": as it stands


@dataclass(frozen=True, slots=True)
class Header:
    """Everything that a recording's tokens depend on."""

    target: ModelIdentity
    drafter: ModelIdentity
    tokenizer_digest: bytes
    stop_tokens: tuple[int, ...]
    sampling: Sampling
    max_new_tokens: int  # of every response
    draft_length: int  # drafts of up to so many tokens are complete from every position
    prompts: PromptSource
    versions: Mapping[str, str] = field(default_factory=lambda: {"airdraft": __version__})


@dataclass(frozen=True, eq=False)
class Recording:
    """A header and its entries, in the order of the prompts."""

    header: Header
    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of its bytes before compression: what a run's record names."""
        return hashlib.sha256(self.packed()).hexdigest()

    def packed(self) -> bytes:
        """Its bytes before compression; equal recordings have equal bytes."""
        return b"".join((pack_header(self.header), *map(pack_entry, self.entries)))

    def contract(self, entry: Entry, max_new_tokens: int | None = None, rule: RuleChoice | None = None) -> Contract:
        """The contract under which this entry can be replayed.

        Raises SettingsError for more tokens than were recorded, and for a rule that needs what is not: only the exact one does not.
        """
        choice = rule or RuleChoice()
        if choice.name != EXACT:
            raise SettingsError(f"the rule {choice.name!r} needs what recordings do not hold. Replay under {EXACT!r}, or use real models.")
        longest = self.header.max_new_tokens
        wanted = longest if max_new_tokens is None else max_new_tokens
        if not 1 <= wanted <= longest:
            raise SettingsError(
                f"max_new_tokens is {wanted}, but this recording holds responses of up to {longest}. Ask for 1 to {longest}."
            )
        return Contract(
            protocol_version=PROTOCOL_VERSION,
            model=self.header.target.name,
            tokenizer_digest=self.header.tokenizer_digest,
            vocabulary_size=self.header.target.vocabulary_size,
            prompt=entry.prompt,
            sampling=self.header.sampling,
            rule=choice,
            stop_tokens=self.header.stop_tokens,
            max_new_tokens=wanted,
        )


def write_recording(path: Path, recording: Recording) -> None:
    """The file appears only when it is complete. Raises SettingsError when it cannot be written."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(zlib.compress(recording.packed(), level=9))
        unfinished.replace(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error}. Choose a file that can be written.") from error


def read_recording(path: Path) -> Recording:
    """Raises SettingsError when the file is no recording, of another version, or damaged."""
    try:
        return unpack(_decompressed(path.read_bytes()))
    except (OSError, zlib.error) as error:
        raise SettingsError(f"{path}: {error}. Expected a recording as `airdraft record` makes them.") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}") from error


def unpack(data: bytes) -> Recording:
    """A recording from its bytes before compression. Raises SettingsError."""
    try:
        objects = iter_objects(data)
        header = unpack_header(next(objects, None))
        return Recording(header, tuple(unpack_entry(values, header) for values in objects))
    except (ValueError, TypeError, LookupError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise SettingsError(f"a damaged recording ({error!r}). Get or make it again.") from error


def iter_objects(data: bytes, *, whole: bool = True) -> Iterator[Any]:
    """The msgpack objects that follow one another in `data`; with `whole` off, one cut off at the end is left out."""
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=0)
    unpacker.feed(data)
    yield from unpacker
    if whole and unpacker.tell() != len(data):
        raise SettingsError("a recording that is cut off. Get or make it again.")


def pack_header(header: Header) -> bytes:
    """The first object of a recording."""
    values = {name: getattr(header, name) for name in ("tokenizer_digest", "stop_tokens", "max_new_tokens", "draft_length")}
    parts = {name: _fields(getattr(header, name)) for name in ("target", "drafter", "prompts")}
    sampling = header.sampling.model_dump()
    versions = dict(sorted(header.versions.items()))
    return _pack({"format": FORMAT, "version": VERSION, **values, **parts, "sampling": sampling, "versions": versions})


def unpack_header(values: Any) -> Header:
    """Raises SettingsError for what is no header, or one of another version; ValueError or TypeError for a damaged one."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SettingsError(f"not a recording: it does not begin with {FORMAT!r}.")
    if values["version"] != VERSION:
        raise SettingsError(f"a recording of version {values['version']}; airdraft {__version__} reads version {VERSION}. Make it again.")
    return Header(
        target=ModelIdentity(**values["target"]),
        drafter=ModelIdentity(**values["drafter"]),
        tokenizer_digest=values["tokenizer_digest"],
        stop_tokens=tuple(values["stop_tokens"]),
        sampling=Sampling.parse(values["sampling"], "sampling"),
        max_new_tokens=values["max_new_tokens"],
        draft_length=values["draft_length"],
        prompts=PromptSource(**values["prompts"]),
        versions=dict(values["versions"]),
    )


def pack_entry(entry: Entry) -> bytes:
    """One entry as an object of its own."""
    return _pack(
        {
            "name": entry.name,
            "task": entry.task,
            "prompt": np.array(entry.prompt, dtype="<u4").tobytes(),
            "finish": entry.finish.name,
            "target": _columns(entry.target),
            "drafter": _columns(entry.drafter),
            "continuations": _columns(entry.continuations),
            "continuation_lengths": bytes(entry.continuation_lengths),
        }
    )


def unpack_entry(values: Any, header: Header) -> Entry:
    """Raises SettingsError for parts that do not fit together; ValueError, TypeError or LookupError for a damaged entry."""
    entry = Entry(
        name=values["name"],
        task=values["task"],
        prompt=tuple(np.frombuffer(values["prompt"], dtype="<u4").tolist()),
        finish=Finish[values["finish"]],
        target=_predictions(values["target"]),
        drafter=_predictions(values["drafter"]),
        continuations=_predictions(values["continuations"]),
        continuation_lengths=tuple(values["continuation_lengths"]),
    )
    entry.check(header.target.vocabulary_size)
    return entry


def _columns(part: Predictions) -> dict[str, bytes]:
    halves = {name: getattr(part, name).astype("<f2").tobytes() for name in COLUMNS}
    return {"tokens": part.tokens.astype("<u4").tobytes(), **halves}


def _predictions(values: Mapping[str, bytes]) -> Predictions:
    tokens = np.frombuffer(values["tokens"], dtype="<u4")
    halves = [np.frombuffer(values[name], dtype="<f2") for name in COLUMNS]
    if any(len(column) != len(tokens) for column in halves):
        raise ValueError("columns of different lengths")
    return Predictions(tokens, *halves)


def _fields(value: ModelIdentity | PromptSource) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _pack(values: Mapping[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(values, use_bin_type=True)
    return packed


def _decompressed(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    unpacked = stream.decompress(data, LARGEST_BYTES)
    if not stream.eof:
        raise SettingsError("a recording that is cut off, or unpacks to more than 1 GiB. Get or make it again.")
    return unpacked
