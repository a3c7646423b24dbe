"""Writes the protobuf stubs beside their .proto file: `python -m airdraft.wire.generate`. A development tool; it needs the `dev` extra."""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parents[2]
PROTO = "airdraft/wire/v1/airdraft.proto"


def generate(destination: Path = SOURCE_ROOT) -> None:
    """Write the stubs of messages and service, and their types, under `destination`. Raises RuntimeError when the compiler refuses."""
    from grpc_tools import protoc  # type: ignore[import-untyped]  # ships no types; imported here, as only the dev extra has it

    outputs = ("python", "grpc_python", "mypy", "mypy_grpc")
    plugins = [f"--plugin=protoc-gen-{name}={Path(sys.executable).with_name(f'protoc-gen-{name}')}" for name in outputs[2:]]
    code = protoc.main(["protoc", f"-I{SOURCE_ROOT}", *plugins, *(f"--{name}_out={destination}" for name in outputs), PROTO])
    if code != 0:
        raise RuntimeError(f"protoc ended with code {code}; its own message stands above")


if __name__ == "__main__":
    generate()
