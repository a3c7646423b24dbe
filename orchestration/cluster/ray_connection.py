"""Being connected to Ray: to a cluster that runs, or to an embedded one on this machine that lives as long as the connection."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from airdraft.errors import SettingsError, UnavailableError
from orchestration.cluster import names, whereabouts
from orchestration.cluster.settings import ANYWHERE, PLACE, ClusterSettings

MISSING = "a cluster needs Ray: pip install 'airdraft[cluster]'"
EMBEDDED_MEMORY_BYTES = 100 * 2**20  # of Ray's object store, which only tokens and reports pass through
SPARE_CPUS = 1
CONNECT_DEADLINE_S = 10.0
START = "Start one (ray start --head), or name one with --address."
AUTH_MODE = "RAY_AUTH_MODE"
TOKEN_HINT = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's own (there: ray get-auth-token)."


def require_ray() -> ModuleType:
    """The ray module. Raises SettingsError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise SettingsError(f"{MISSING} ({error})") from error
    return ray  # type: ignore[no-any-return]  # Ray is not looked into by the type checker


@contextmanager
def embedded(settings: ClusterSettings) -> Iterator[str]:
    """A Ray of our own on this machine, with as many logical CPUs as the settings ask for; its address. It ends with the block.

    Ray guards it with a token of its own making, in ~/.ray/auth_token, unless RAY_AUTH_MODE says otherwise.
    """
    context = _init(
        address="local",
        num_cpus=int(settings.cpus + SPARE_CPUS) + 1,
        labels={PLACE: ANYWHERE},
        include_dashboard=False,
        object_store_memory=EMBEDDED_MEMORY_BYTES,
    )
    address = str(context.address_info["gcs_address"])
    try:
        whereabouts.note(address, is_guarded=os.environ.get(AUTH_MODE) == "token")  # which Ray itself sets, unless the user has
        yield address
    finally:
        whereabouts.forget()
        require_ray().shutdown()


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connected to the Ray cluster at this address; without one, to RAY_ADDRESS, the one that `airdraft up` runs, or any on this machine.

    Raises UnavailableError when there is none, SettingsError when it asks for a token that is not here.
    """
    if address is None and not os.environ.get("RAY_ADDRESS") and (ours := whereabouts.find()) is not None:
        address = ours.address
        if ours.is_guarded:
            os.environ.setdefault(AUTH_MODE, "token")  # before Ray is imported, which looks at it then
    ray = require_ray()
    if ray.is_initialized():
        yield
        return
    _require_listener(address or os.environ.get("RAY_ADDRESS"))
    _init(address=address or "auto")
    try:
        yield
    finally:
        ray.shutdown()


def _require_listener(address: str | None) -> None:
    """Raise UnavailableError when nobody listens at host:port, where Ray itself would wait for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not port.isdecimal() or "/" in host:
        return  # "auto", or a form of Ray's own
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_DEADLINE_S).close()
    except OSError as error:
        raise UnavailableError(f"no Ray cluster can be reached at {address!r}: {error}. {START}") from error


def _init(**arguments: Any) -> Any:
    """`ray.init`, quietly, its failures in our words, and the handlers of signals left as they were."""
    ray = require_ray()
    handler = signal.getsignal(signal.SIGTERM)
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        return ray.init(namespace=names.NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **arguments)
    except ray.exceptions.AuthenticationError as error:
        raise SettingsError(f"the Ray cluster refuses: {_first_line(error)}. {TOKEN_HINT}") from error
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = arguments["address"]
        if where == "local":
            raise UnavailableError(f"Ray could not be started on this machine: {_first_line(error)}") from error
        hint = "" if os.environ.get(AUTH_MODE) == "token" else f" If it is there and asks for a token: {TOKEN_HINT}"
        raise UnavailableError(f"no Ray cluster can be reached at {where!r}: {_first_line(error)}. {START}{hint}") from error
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
