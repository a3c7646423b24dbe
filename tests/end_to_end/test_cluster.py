"""On Ray: two nodes, two verifiers, devices behind 5G and LTE. Whatever is killed, texts stay the target's own and nothing stays behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import ROOT, environment

pytest.importorskip("ray", reason="the cluster extra is not installed")

MARK = "AIRDRAFT_TEST_RUN"  # inherited by every process that a run starts
SETTLE_S = 60.0


def marked(run: str) -> list[int]:
    """Processes of this run that are still there."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                variables = (folder / "environ").read_bytes()
            except OSError:
                continue  # another user's, or gone meanwhile
            if f"{MARK}={run}".encode() in variables:
                found.append(int(folder.name))
    return found


def world(folder: Path, *arguments: str, deadline_s: float) -> str:
    """Run the world to its end, and see that no process outlives it."""
    run = secrets.token_hex(8)
    variables = environment(
        **{MARK: run, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_memory_monitor_refresh_ms": "0"}
    )
    command = [sys.executable, "-m", "tests.cluster_world", arguments[0], str(folder), *arguments[1:]]
    try:
        done = subprocess.run(
            command, env=variables, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=deadline_s, check=False
        )
        assert done.returncode == 0, done.stdout[-6000:]
        until = time.monotonic() + SETTLE_S
        while marked(run) and time.monotonic() < until:
            time.sleep(0.2)
        assert marked(run) == []
        return done.stdout
    finally:
        for process in marked(run):
            os.kill(process, signal.SIGKILL)


@pytest.mark.timeout(600)
def test_a_killed_verifier_changes_no_text_a_sweep_is_measured_and_nothing_is_left_behind(tmp_path):
    said = world(tmp_path, "small", "--prompts", "2", "--tokens", "120", deadline_s=500)
    for line in ("killed verifier-", "the same texts", "cells measured", "the metrics are there", "nothing is left behind"):
        assert line in said


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_killed_nodes_sessions_go_on_and_its_verifier_comes_back_on_a_new_node(tmp_path):
    said = world(tmp_path, "node", "--prompts", "4", "--tokens", "160", deadline_s=1000)
    for line in ("killed the node of verifier-", "the same texts without it", "nothing is left behind"):
        assert line in said


@pytest.mark.full
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("shards", [1, 2])
def test_eight_devices_keep_their_texts_whatever_dies(tmp_path, shards):
    arguments = ("--devices", "8", "--prompts", "24", "--tokens", "64", "--drafter", "model", "--shards", str(shards))
    said = world(tmp_path, "full", *arguments, deadline_s=2000)
    killed = ("killed verifier-", "killed device-", "drained verifier-", *(["killed a shard"] if shards > 1 else []))
    for line in ("every text is the target's own", *killed, "what the dead device held is free", "nothing is left behind"):
        assert line in said
