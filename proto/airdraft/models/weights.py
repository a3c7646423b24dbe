"""Weights in safetensors form, looked at from outside: is every file there and as long as its own header says?"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from airdraft.errors import CorruptModelError

HEADER_LIMIT_BYTES = 100_000_000


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The weight files that a model folder should hold, whether or not they exist; empty when it holds none."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        return (whole,) if whole.exists() else ()
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CorruptModelError(f"{index} cannot be read as an index of weights ({error}). Get the folder again.") from error
    return tuple(folder / name for name in sorted(names))


def complete(folder: Path) -> bool:
    """Whether the folder has a configuration and every weight file, each of its right length."""
    try:
        check_weights(folder)
    except CorruptModelError:
        return False
    return (folder / "config.json").exists()


def check_weights(folder: Path) -> None:
    """Raise CorruptModelError naming the first weight file that is missing or not as long as its header says. Reads headers only."""
    files = weight_files(folder)
    if not files:
        raise CorruptModelError(f"{folder} holds no model.safetensors. Expected weights in safetensors form beside config.json.")
    for path in files:
        expected = _expected_bytes(path)
        found = path.stat().st_size
        if found != expected:
            raise CorruptModelError(f"{path} has {found} bytes and its header promises {expected}: it is damaged. Get this file again.")


def _expected_bytes(path: Path) -> int:
    try:
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            if header_bytes > HEADER_LIMIT_BYTES:
                raise ValueError(f"a header of {header_bytes} bytes")
            header = json.loads(file.read(header_bytes))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError) as error:
        raise CorruptModelError(f"{path} is not a readable safetensors file ({error}). Get this file again.") from error
    return 8 + int(header_bytes) + max(ends, default=0)
