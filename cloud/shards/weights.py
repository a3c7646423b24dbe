"""Parts of tensors out of a folder's safetensors files, read band by band: no more is ever in memory than the part and one band.

The files are read, not mapped: mapped pages would count as this process's memory for as long as any tensor of the file lives.
"""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from airdraft.errors import CorruptModelError, SettingsError
from airdraft.models.weights import check_weights, weight_files

BAND_BYTES = 16 * 2**20
TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}


@dataclass(frozen=True, slots=True)
class Cut:
    """The stretch begin … end - 1 of one dimension (0 or 1) of a tensor."""

    dimension: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies."""

    file: Path
    offset: int  # bytes from the start of the file
    type_name: str
    shape: tuple[int, ...]


class Weights:
    """The tensors of a model folder, by name. Raises CorruptModelError for a damaged folder."""

    def __init__(self, folder: Path) -> None:
        check_weights(folder)
        self._folder = folder
        self._places = {name: place for file in weight_files(folder) for name, place in _places(file)}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def read(self, name: str, dtype: torch.dtype, cut: Cut | None = None) -> torch.Tensor:
        """A tensor of one or two dimensions, or a stretch of it, as `dtype`.

        Raises CorruptModelError when the folder lacks it, SettingsError when it is quantised.
        """
        place, kept = self._place(name)
        rows, width = place.shape[0], (place.shape[1] if len(place.shape) == 2 else 1)
        top, bottom = (cut.begin, cut.end) if cut and cut.dimension == 0 else (0, rows)
        left, right = (cut.begin, cut.end) if cut and cut.dimension == 1 else (0, width)
        part = _memory((bottom - top) * (right - left) * dtype.itemsize).view(dtype).view(bottom - top, right - left)
        row_bytes = width * kept.itemsize
        band = min(max(BAND_BYTES // row_bytes, 1), bottom - top)
        buffer = _memory(band * row_bytes)
        with place.file.open("rb", buffering=0) as file:
            file.seek(place.offset + top * row_bytes)
            for begin in range(0, bottom - top, band):
                count = min(band, bottom - top - begin)
                whole = _fill(buffer[: count * row_bytes], file).view(kept).view(count, width)
                part[begin : begin + count] = whole[:, left:right]
        return part if len(place.shape) == 2 else part.view(-1)

    def _place(self, name: str) -> tuple[_Place, torch.dtype]:
        place = self._places.get(name)
        if place is None:
            raise CorruptModelError(
                f"{self._folder} lacks the weight {name!r}: it is incomplete, or laid out in another way. Get it again."
            )
        dtype = TYPES.get(place.type_name)
        if dtype is None or len(place.shape) not in (1, 2):
            raise SettingsError(
                f"{name!r} of {self._folder} is a {place.type_name} of shape {list(place.shape)}; shards read plain matrices and "
                f"vectors of {', '.join(TYPES)} only. Choose the model in bfloat16, or serve it unsharded."
            )
        return place, dtype


def _memory(size: int) -> torch.Tensor:
    """Bytes [size] that go back to the system when the tensor dies.

    The heap keeps what is freed below what is still held, and a matrix is freed right after its packed form was made: it would hold
    nearly twice the weights in the end.
    """
    return torch.frombuffer(mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=torch.uint8)[:size]


def _fill(buffer: torch.Tensor, file: BinaryIO) -> torch.Tensor:
    view, filled = memoryview(buffer.numpy().data), 0
    while filled < len(view):
        count = file.readinto(view[filled:])  # type: ignore[attr-defined]  # an unbuffered file has it; its general type does not
        if not count:
            raise CorruptModelError(f"{file.name} ended early: it was changed while it was read. Get it again.")
        filled += count
    return buffer


def _places(path: Path) -> list[tuple[str, _Place]]:
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    start = 8 + header_bytes
    return [
        (name, _Place(path, start + entry["data_offsets"][0], entry["dtype"], tuple(entry["shape"])))
        for name, entry in header.items()
        if name != "__metadata__"
    ]
