"""The files that a sweep's cells name, carried to machines that do not have them."""

from __future__ import annotations

import getpass
import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from airdraft.errors import SettingsError
from orchestration.cell import Cell
from orchestration.scenario import files


@dataclass(frozen=True, slots=True)
class Inputs:
    """Each file's bytes, by the path that the scenarios give it."""

    contents: Mapping[str, bytes]

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Inputs:
        """All files of these cells. Raises SettingsError for one that cannot be read."""
        return cls.read(dict.fromkeys(path for cell in cells for path in files(cell.scenario)))

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Inputs:
        """These files. Raises SettingsError for one that cannot be read."""
        try:
            return cls({str(path): path.read_bytes() for path in paths})
        except OSError as error:
            raise SettingsError(f"{error}. Correct the path in the scenario.") from error

    def unpacked(self, folder: Path | None = None) -> dict[str, Path]:
        """Put the files where this machine can read them; where each lies. What is there already, by its digest, is not written again."""
        folder = folder or Path(tempfile.gettempdir()) / f"airdraft-inputs-{getpass.getuser()}"
        return {path: _placed(folder, Path(path).name, data) for path, data in self.contents.items()}


def _placed(folder: Path, name: str, data: bytes) -> Path:
    place = folder / hashlib.sha256(data).hexdigest()[:32] / name
    if not place.is_file() or place.read_bytes() != data:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
            file.write(data)
        Path(file.name).replace(place)
    return place
