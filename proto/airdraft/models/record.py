"""What a converted model folder says about itself (`airdraft.json`): where it came from, and the size and digest of each file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from airdraft.errors import CorruptModelError
from airdraft.models.digest import sha256_of
from airdraft.models.progress import Meter, Progress, Silent

NAME = "airdraft.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a folder was made from, and with what."""

    reference: str
    file: str
    sha256: str
    dtype: str
    transformers: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of the folder as it was written."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """A folder's provenance and files."""

    version: int
    provenance: Provenance
    files: tuple[FileRecord, ...]


def write_record(folder: Path, provenance: Provenance, progress: Progress) -> None:
    """Describe every file of the folder. The caller renames the folder to its place afterwards."""
    paths = [path for path in sorted(folder.iterdir()) if path.name != NAME]
    with Meter(progress, "recording digests", sum(path.stat().st_size for path in paths)) as meter:
        files = tuple(FileRecord(path.name, path.stat().st_size, sha256_of(path, meter)) for path in paths)
    (folder / NAME).write_text(json.dumps(asdict(Record(VERSION, provenance, files)), indent=1) + "\n")


def read_record(folder: Path) -> Record:
    """The folder's record. Raises CorruptModelError when it is missing or unreadable."""
    path = folder / NAME
    try:
        values = json.loads(path.read_text())
        files = tuple(FileRecord(**file) for file in values["files"])
        return Record(int(values["version"]), Provenance(**values["provenance"]), files)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise CorruptModelError(f"{path} is missing or unreadable ({error})") from error


def check_sizes(folder: Path) -> Record:
    """Check that every recorded file is there with its size, without reading it. Raises CorruptModelError naming the first that is not."""
    record = read_record(folder)
    for file in record.files:
        path = folder / file.name
        found = path.stat().st_size if path.exists() else None
        if found != file.bytes:
            what = "is missing" if found is None else f"has {found} bytes"
            raise CorruptModelError(f"{path} {what}, expected {file.bytes} bytes")
    return record


def check_digests(folder: Path, progress: Progress | None = None) -> Record:
    """Check every recorded file's SHA-256. Raises CorruptModelError naming the first that differs."""
    record = check_sizes(folder)
    total_bytes = sum(file.bytes for file in record.files)
    with Meter(progress or Silent(), f"checking {folder.name}", total_bytes) as meter:
        for file in record.files:
            found = sha256_of(folder / file.name, meter)
            if found != file.sha256:
                raise CorruptModelError(f"{folder / file.name} has the SHA-256 {found}, expected {file.sha256}")
    return record
