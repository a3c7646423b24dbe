"""The committed stubs are what the .proto file gives, and the file is as buf wants it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from airdraft.wire import generate
from airdraft.wire.v1 import airdraft_pb2

GENERATED = ("airdraft_pb2.py", "airdraft_pb2_grpc.py", "airdraft_pb2.pyi", "airdraft_pb2_grpc.pyi")
HERE = Path(airdraft_pb2.__file__).parent
MADE_WITH = {"grpcio-tools": "1.76.0", "mypy-protobuf": "5.1.0"}


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@pytest.mark.parametrize("name", GENERATED)
def test_the_committed_stubs_are_what_the_proto_file_gives(name, tmp_path):
    for package, wanted in MADE_WITH.items():
        if installed(package) != wanted:
            pytest.skip(f"the stubs are made with {package} {wanted}, here is {installed(package)}; install the dev extra to compare them")
    generate.generate(tmp_path)
    fresh = (tmp_path / generate.PROTO).with_name(name)
    assert (HERE / name).read_bytes() == fresh.read_bytes(), "run `python -m airdraft.wire.generate` and commit what it writes"


@pytest.mark.parametrize("command", [["lint"], ["format", "--diff", "--exit-code"]], ids=["lint", "format"])
def test_buf_has_nothing_to_say(command):
    buf = shutil.which("buf") or shutil.which("buf", path=str(Path(sys.executable).parent))
    if buf is None:
        pytest.skip("buf is not installed; install the dev extra to check the .proto file")
    done = subprocess.run([buf, *command, "."], cwd=generate.SOURCE_ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
