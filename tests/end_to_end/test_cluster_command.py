"""`airdraft up`, `status`, `generate --on-cluster` and `down`, as a user types them: a Ray of their own, with a token of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import DEADLINE_S, run, start
from tests.tiny_pair import save_pair

pytest.importorskip("ray", reason="the cluster extra is not installed")
pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

CLUSTER = """
[verifier]
slots = 4
context = 512
share_prefixes = false
[verifier.model]
model = "{target}"
dtype = "float32"
threads = 1
[server]
port = 0
[replicas]
count = 2
cpus = 0.5
[devices]
count = 1
cpus = 0.1
[device]
max_new_tokens = 16
[device.drafter]
kind = "lookup"
"""
SWEEP = """
name = "small"
[workload]
prompts = "prompts.jsonl"
[device]
max_new_tokens = 8
[machines]
target_token_ms = 50
[grid]
"link.preset" = ["5g", "wifi"]
[sweep]
draft_lengths = [2]
"""
ASK = ("generate", "hello, hello, hello", "--on-cluster")


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    return {"HOME": str(home), "RAY_memory_monitor_refresh_ms": "0", "RAY_ADDRESS": "", "XDG_STATE_HOME": ""}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    target, _ = save_pair(folder)
    path = folder / "cluster.toml"
    path.write_text(CLUSTER.format(target=target))
    return path


@pytest.fixture
def cluster(file: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = start(("up", str(file)), **variables)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready: 2 verifiers at 127.0.0.1:") and line.endswith("; 1 device\n"), (
            process.stderr.read() if process.stderr else ""
        )
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)


def note(variables: dict[str, str]) -> Path:
    """Where the cluster's Ray is; other commands find it there, whatever other Rays this machine runs."""
    return Path(variables["HOME"]) / ".local" / "state" / "airdraft" / "cluster.json"


def check_sweep(folder: Path, **variables: str) -> None:
    """Measured with the cluster's device; what was measured is kept; a report is made of it."""
    sweep, runs = folder / "small.toml", folder / "runs"
    sweep.write_text(SWEEP)
    (folder / "prompts.jsonl").write_text('{"prompt": "radio, radio"}\n{"prompt": "river, river"}\n')
    command = ("sweep", str(sweep), "--on-cluster", "--runs", str(runs))
    possible = run(*command, "--check", **variables)
    assert possible.code == 0 and "6 cells, all possible on this cluster" in possible.err and not runs.exists(), possible.err
    measured = run(*command, **variables)
    assert measured.code == 0 and "6 cells run, 0 had been run before, 0 failed" in measured.err, measured.err
    assert "left out, since it is of simulations only: machines, the baseline 'device', the baseline 'local'" in measured.err
    assert "0 cells run, 6 had been run before" in run(*command, **variables).err
    reported = run("report", str(runs / "small-on-cluster"), **variables)
    assert reported.code == 0 and "simulated" not in reported.out, reported.err
    for wrong in (("--local",), ("--workers", "2")):
        assert run(*command, *wrong, **variables).code == 2


def check_ctrl_c_in_a_sweep(folder: Path, **variables: str) -> None:
    """What the device has at work ends, and what was measured before is kept."""
    sweep, runs = folder / "slow.toml", folder / "runs"
    slow = SWEEP.replace('"small"', '"slow"').replace('["5g", "wifi"]', '["5g", "satellite"]').replace("= 8", "= 200")
    sweep.write_text(slow)
    process = start(("sweep", str(sweep), "--on-cluster", "--runs", str(runs)), **variables)

    def device() -> dict[str, Any]:
        (known,) = json.loads(run("status", "--json", **variables).out)["devices"]
        return dict(known)

    until(lambda: device()["report"]["link"] == "satellite" and device()["state"] == "answering")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    until(lambda: device()["state"] == "idle")
    assert len(list((runs / "slow-on-cluster" / "cells").iterdir())) >= 1


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def answer(*arguments: str, **variables: str) -> str:
    """The response's text, of all 16 tokens."""
    ended = run(*arguments, "--json", **variables)
    assert ended.code == 0, ended.out + ended.err
    summary = json.loads(ended.out.splitlines()[-1])
    assert summary["tokens"] == 16
    return str(summary["text"])


def test_a_cluster_is_put_up_watched_asked_mended_and_taken_down(cluster, file, variables):
    shown = run("status", "--json", **variables)
    assert shown.code == 0, shown.err
    known = json.loads(shown.out)
    assert {status["state"] for status in known["replicas"]} == {"serving"}
    text = answer(*ASK, **variables)
    address = known["replicas"][0]["report"]["address"]
    tokenizer = str(file.parent / "tiny-target")
    outside = ("generate", ASK[1], "--cloud", address, "--drafter", "lookup", "--tokenizer", tokenizer, "--max-new-tokens", "16")
    assert answer(*outside, **variables) == text
    check_sweep(file.parent, **variables)
    check_ctrl_c_in_a_sweep(file.parent, **variables)

    assert run("down", "--replica", "verifier-1", "--grace", "1", **variables).code == 0
    table = run("status", "--once", **variables).out
    assert "verifier-0" in table and "verifier-1" not in table
    assert run("up", str(file), "--repair", **variables).code == 0
    assert run("up", str(file), "--replace", "--grace", "1", **variables).code == 0
    assert answer(*ASK, **variables) == text

    noted = json.loads(note(variables).read_text())
    assert noted["is_guarded"]
    refused = run("up", str(file), "--address", noted["address"], **variables, RAY_AUTH_MODE="token")
    assert refused.code == 2 and "up already" in refused.err
    unguarded = run("status", "--address", noted["address"], **variables, RAY_AUTH_MODE="disabled")
    assert unguarded.code == 4 and "RAY_AUTH_MODE=token" in unguarded.err
    assert run(*ASK, "--drafter", "lookup", **variables).code == 2
    assert run(*ASK, "--cluster-device", "device-7", **variables).code == 4
    assert run("down", **variables).code == 0
    assert cluster.wait(DEADLINE_S) == 0
    assert not note(variables).exists()
    assert run("status", "--address", noted["address"], **variables).code == 4


def test_ctrl_c_takes_everything_down(cluster, variables):
    noted = json.loads(note(variables).read_text())
    cluster.send_signal(signal.SIGINT)
    assert cluster.wait(DEADLINE_S) == 0
    assert not note(variables).exists()
    assert run("status", "--address", noted["address"], **variables).code == 4
