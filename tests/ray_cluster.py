"""A Ray cluster of one node with token authentication, of which only this test run knows; and only it is ended."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_S = 180.0  # a busy machine takes long to start Ray's eight processes


@dataclass(frozen=True, slots=True)
class Cluster:
    """Its addresses, and the environment in which commands may talk to it."""

    address: str
    dashboard: str
    environment: dict[str, str]


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Started with `ray start --head` under `folder`, whose path must be short: Unix sockets lie in it."""
    gcs, dashboard, agent, client = _free_ports(4)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": f"127.0.0.1:{gcs}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    command = ["ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=2", f"--temp-dir={folder}"]
    ports = [
        f"--port={gcs}",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}",
    ]
    log = (folder.parent / "ray.log").open("wb")
    started = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [*command, *ports, "--object-store-memory=100000000"], env=started, stdout=log, stderr=log, start_new_session=True
    )
    try:
        _wait_for(dashboard, process)
        yield Cluster(environment["RAY_ADDRESS"], f"http://127.0.0.1:{dashboard}", environment)
    finally:
        process.send_signal(signal.SIGTERM)  # `ray start --block` then ends the processes that it started, and no others
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"ray start ended with {process.returncode}")
        with ExitStack() as stack, socket.socket() as probe:
            stack.callback(time.sleep, 0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise RuntimeError("Ray's dashboard did not come up")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
