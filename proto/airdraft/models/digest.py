"""SHA-256 of files of gigabytes, read in pieces and reported as they are read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from airdraft.models.progress import Meter

CHUNK_BYTES = 4 << 20


def sha256_of(path: Path, meter: Meter | None = None) -> str:
    """The file's digest in hexadecimal; `meter` advances by what was read. Raises OSError when it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if meter is not None:
                meter.advance(len(chunk))
    return digest.hexdigest()
