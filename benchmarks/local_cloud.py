"""A verifier in a process of its own on this machine, started with the product's own command, and devices that talk to it over gRPC."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from airdraft.settings import ModelSettings
from edge.drafters.causal_model import CausalModel
from edge.grpc_transport import GrpcTransport
from edge.seams import Token
from edge.session import Session
from edge.settings import DeviceSettings, DrafterSettings
from orchestration import assembly
from orchestration.assembly import Device

START_DEADLINE_S = 600.0


@contextmanager
def cloud(model: str, dtype: str, threads: int, *flags: str) -> Iterator[str]:
    """Runs `airdraft serve`; yields host:port once it is ready. Raises RuntimeError when it does not start."""
    command = [sys.executable, "-m", "orchestration.cli", "serve", "--model", model, "--dtype", dtype, "--threads", str(threads)]
    command += ["--listen", "127.0.0.1:0", "--with-parent", *flags]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            line = process.stdout.readline()  # ends when the process does, so it cannot wait for ever on a failed start
            if not line.startswith("ready: "):
                raise RuntimeError(f"the verifier did not start: {line!r}")
            yield line.split()[1]
        finally:
            process.stdin.close()
            process.wait(timeout=60)


@asynccontextmanager
async def device(address: str, settings: DeviceSettings) -> AsyncIterator[Device]:
    """A device for the verifier at `address`."""
    transport = GrpcTransport(address)
    try:
        built = assembly.build_device(settings, transport, await transport.describe())
        try:
            yield built
        finally:
            built.clock.close()
    finally:
        await transport.close()


def drafting_with(model: str, dtype: str, threads: int, **changes: object) -> DeviceSettings:
    """Settings of a device that drafts with a model."""
    drafter = DrafterSettings(kind="model", model=ModelSettings.parse({"model": model, "dtype": dtype, "threads": threads}))
    return DeviceSettings.parse({"drafter": drafter.model_dump(exclude_unset=True), **changes})


async def respond(session: Session, built: Device, prompt: Sequence[int], new_tokens: int) -> list[Token]:
    """One whole response; stop tokens are left out of the contract, so that every candidate makes the same number of tokens."""
    contract = built.contract(prompt, max_new_tokens=new_tokens)
    without_stops = type(contract)(**{name: getattr(contract, name) for name in contract.__slots__} | {"stop_tokens": ()})
    return [token async for token in session.generate(without_stops)]


def model_of(built: Device) -> CausalModel:
    """The device's drafting model. Raises TypeError when it drafts otherwise."""
    if not isinstance(built.drafter, CausalModel):
        raise TypeError("the device does not draft with a model")
    return built.drafter
