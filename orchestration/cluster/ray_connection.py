"""Being connected to Ray: to a cluster that runs, or to an embedded one on this machine that lives as long as the connection."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from airdraft.errors import SettingsError, UnavailableError
from orchestration.cluster import names
from orchestration.cluster.settings import ANYWHERE, PLACE, ClusterSettings

MISSING = "a cluster needs Ray: pip install 'airdraft[cluster]'"
EMBEDDED_MEMORY_BYTES = 100 * 2**20  # of Ray's object store, which only tokens and reports pass through
SPARE_CPUS = 1


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
    try:
        yield str(context.address_info["gcs_address"])
    finally:
        require_ray().shutdown()


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connected to the Ray cluster at this address; without one, to RAY_ADDRESS or the one that runs on this machine.

    Raises UnavailableError when there is none, SettingsError when it asks for a token that is not here.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield
        return
    _init(address=address or "auto")
    try:
        yield
    finally:
        ray.shutdown()


def _init(**arguments: Any) -> Any:
    """`ray.init`, quietly, its failures in our words, and the handlers of signals left as they were."""
    ray = require_ray()
    handler = signal.getsignal(signal.SIGTERM)
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        return ray.init(namespace=names.NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **arguments)
    except ray.exceptions.AuthenticationError as error:
        raise SettingsError(
            "the Ray cluster asks for a token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's own "
            f"(there: ray get-auth-token). Ray says: {_first_line(error)}"
        ) from error
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = arguments["address"]
        if where == "local":
            raise UnavailableError(f"Ray could not be started on this machine: {_first_line(error)}") from error
        raise UnavailableError(
            f"no Ray cluster can be reached at {where!r}: {_first_line(error)}. Start one (ray start --head), or name one with --address."
        ) from error
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
