"""The models at hand and how to have them: from a reference (a name, a folder, a GGUF file, a hub id) to a folder ready to be loaded."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airdraft.errors import CorruptModelError, UnknownModelError
from airdraft.models import cache, conversion, hub, record, sources
from airdraft.models.catalogue import KnownModel, by_reference, known_models
from airdraft.models.digest import sha256_of
from airdraft.models.progress import Meter, Progress, Silent
from airdraft.models.record import Provenance
from airdraft.models.weights import check_weights
from airdraft.settings import unknown

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """A known model as a list shows it. `bytes` is the download, `converted_bytes` what it then takes."""

    name: str
    architecture: str
    licence: str
    bytes: int
    converted_bytes: int
    present: bool


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder with a config.json, used where it lies."""

    path: Path


@dataclass(frozen=True, slots=True)
class GgufFile:
    """Somebody's own GGUF file; its folder is kept under a key that changes when the file does."""

    path: Path

    @property
    def key(self) -> str:
        """The name of its folder in our cache."""
        status = self.path.stat()
        identity = f"{self.path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        return f"{self.path.stem}-{hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()}"


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository of the hub that is not in the catalogue."""

    id: str


Model = KnownModel | LocalFolder | GgufFile | HubRepository


def resolve(reference: str) -> Model:
    """What a reference means. A known name comes before a path of the same name. Raises UnknownModelError that says what was looked for."""
    if (known := by_reference(reference)) is not None:
        return known
    path = Path(reference).expanduser()
    if reference and path.is_dir():
        if not (path / "config.json").exists():
            raise UnknownModelError(f"{path} holds no config.json. Expected a model folder as transformers saves it.")
        return LocalFolder(path)
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise UnknownModelError(f"{path} is not a GGUF file. Expected a file ending in .gguf, or a folder with config.json.")
        return GgufFile(path)
    if HUB_ID.fullmatch(reference) and path.suffix.lower() != ".gguf":
        return HubRepository(reference)
    hint = "" if path.is_absolute() or "/" not in reference else " There is no such file or folder either."
    raise UnknownModelError(unknown("model", reference, list(known_models())) + hint)


def ensure(reference: str, progress: Progress | None = None) -> Path:
    """A local folder ready for `from_pretrained`; fetched and converted first if need be.

    Raises UnknownModelError, ModelUnavailableError, CorruptModelError, DiskFullError, DeadlineError, SettingsError or ModelError.
    """
    watched = progress or Silent()
    match resolve(reference):
        case LocalFolder(path):
            return path
        case HubRepository(id=repository):
            return hub.local_folder(repository) or _from_hub(repository, watched)
        case GgufFile() as file:
            return _converted(reference, file.key, lambda: _own(file.path, watched), watched)
        case model:
            return _converted(model.name, model.name, lambda: _delivered(model, watched), watched)


def _from_hub(repository: str, progress: Progress) -> Path:
    with cache.locked(repository.replace("/", "--"), progress):
        if (folder := hub.local_folder(repository)) is not None:
            return folder
        hub.require_reachable()
        return hub.download_folder(repository, progress)


def _own(path: Path, progress: Progress) -> tuple[Path, str]:
    with Meter(progress, f"reading {path.name}", path.stat().st_size) as meter:
        return path, sha256_of(path, meter)


def _delivered(model: KnownModel, progress: Progress) -> tuple[Path, str]:
    path = sources.deliver(model, progress)
    cache.require_room(cache.root(), model.converted_bytes, f"converting {model.name}")
    return path, model.sha256


def _converted(reference: str, key: str, obtain: Callable[[], tuple[Path, str]], progress: Progress) -> Path:
    if (folder := _present(reference, key)) is not None:
        return folder
    with cache.locked(key, progress):
        if (folder := _present(reference, key)) is not None:
            return folder
        source, digest = obtain()
        destination = cache.ready_folder(key)
        conversion.convert(
            source, destination, lambda version: Provenance(reference, source.name, digest, conversion.DTYPE, version), progress
        )
        shutil.rmtree(cache.unfinished_folder(key), ignore_errors=True)
        return destination


def _present(reference: str, key: str) -> Path | None:
    """The model's folder in our cache, its sizes checked, or None. Raises CorruptModelError that says how to repair it."""
    folder = cache.ready_folder(key)
    if not folder.exists():
        return None
    try:
        record.check_sizes(folder)
    except CorruptModelError as error:
        raise CorruptModelError(f"{error.message}. Repair it with: airdraft models fetch {reference}") from error
    return folder


def locate(reference: str) -> Path | None:
    """The model's folder if it is on this machine and ready, else None; asks no network. Raises UnknownModelError, CorruptModelError."""
    match resolve(reference):
        case LocalFolder(path):
            return path
        case HubRepository(id=repository):
            return hub.local_folder(repository)
        case GgufFile() as file:
            return _present(reference, file.key)
        case model:
            return _present(model.name, model.name)


def verify(reference: str, progress: Progress | None = None) -> Path:
    """Check a model on this machine byte for byte where its digests are known, else its weights' lengths.

    Raises CorruptModelError naming the file and the repair, or UnknownModelError when it is not here.
    """
    model = resolve(reference)
    folder = locate(reference)
    if folder is None:
        raise UnknownModelError(f"{reference!r} is not on this machine. Get it with: airdraft models fetch {reference}")
    if isinstance(model, LocalFolder | HubRepository) and not (folder / record.NAME).exists():
        check_weights(folder)
        return folder
    try:
        record.check_digests(folder, progress)
    except CorruptModelError as error:
        raise CorruptModelError(f"{error.message}. Repair it with: airdraft models fetch {reference}") from error
    return folder


def fetch(reference: str, progress: Progress | None = None) -> Path:
    """As `ensure`, but checks every byte of a model that is already here, and replaces it when it is damaged."""
    model = resolve(reference)
    if isinstance(model, KnownModel | GgufFile):
        key = model.name if isinstance(model, KnownModel) else model.key
        with cache.locked(key, progress or Silent()):
            folder = cache.ready_folder(key)
            try:
                if folder.exists():
                    record.check_digests(folder, progress)
            except CorruptModelError:
                shutil.rmtree(folder)
    return ensure(reference, progress)


def listing() -> tuple[Entry, ...]:
    """The known models, and which of them are here; a damaged one counts as absent. Asks no network."""
    return tuple(
        Entry(model.name, model.architecture, model.licence, model.bytes, model.converted_bytes, _is_present(model.name))
        for model in known_models().values()
    )


def _is_present(name: str) -> bool:
    try:
        return _present(name, name) is not None
    except CorruptModelError:
        return False
