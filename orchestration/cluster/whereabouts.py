"""Where the Ray is that `airdraft up` has started on this machine, so that this user's other commands find it beside any other Ray."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from platformdirs import user_state_path


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A Ray's address, the process that it lives and dies with, and whether it asks for a token."""

    address: str
    process_id: int
    is_guarded: bool


def note(address: str, *, is_guarded: bool) -> None:
    """Keep where this process's Ray is. Where nothing can be written, other commands need the address."""
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_text(json.dumps(asdict(Whereabouts(address, os.getpid(), is_guarded))))


def forget() -> None:
    """This process's Ray has ended."""
    if (known := find()) is not None and known.process_id == os.getpid():
        with suppress(OSError):
            _file().unlink(missing_ok=True)


def find() -> Whereabouts | None:
    """The one that was noted last, if its process still lives."""
    try:
        known = Whereabouts(**json.loads(_file().read_text()))
        os.kill(known.process_id, 0)
    except (OSError, ValueError, TypeError):
        return None
    return known


def _file() -> Path:
    return user_state_path("airdraft") / "cluster.json"
