"""Whole worlds for the end-to-end tests: a verifier in a process that can be killed, an emulated link to it, devices behind the link."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Self

import pytest
import torch

from airdraft import PROTOCOL_VERSION, models
from airdraft.clock import WallClock
from airdraft.errors import DiskFullError, ModelUnavailableError
from airdraft.messages import Contract
from airdraft.packed_linear import pack_linears
from airdraft.settings import ModelSettings, Sampling
from airdraft.transport import Transport
from cloud.seams import Block, Rows, Target
from cloud.server import Server, ServerSettings
from cloud.settings import VerifierSettings
from cloud.target import TransformersTarget
from cloud.verifier import Verifier
from edge import schedules
from edge.drafters.causal_model import CausalModel
from edge.drafters.prompt_lookup import PromptLookup
from edge.drafters.random_tokens import RandomTokens
from edge.grpc_transport import GrpcSettings, GrpcTransport
from edge.seams import Drafter
from edge.session import Session
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from orchestration.link import Address, Channel, LinkSettings, ShapingProxy, build
from orchestration.link.channels.burst import BurstChannel
from tests.tiny_models import VOCABULARY, tiny_llama

TINY = "tiny"
TINY_DIGEST = b"a tiny tokenizer"
PATIENT = GrpcSettings(connect_deadline_s=60, keepalive_deadline_s=60)  # nothing is given up because the machine is busy
PATIENCE_S = 240.0  # for a process to start or to get to a point; only a failing test ever waits so long

# A process forked from one that has imported everything starts in a few hundredths of a second.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["pytest", "transformers.models.llama.modeling_llama", "transformers.models.qwen2.modeling_qwen2", "cloud.verifier", "cloud.server"]
)


# --- what is served


@dataclass(frozen=True, slots=True)
class Served:
    """A model and the limits of its verifier; plain values, so that they can travel to another process."""

    model: str = TINY  # or a name that airdraft.models knows
    dtype: str = "float32"
    slots: int = 5
    context: int = 512
    limits: tuple[tuple[str, float], ...] = ()  # more of VerifierSettings
    threads: int = 1

    @property
    def tokenizer_digest(self) -> bytes:
        return TINY_DIGEST if self.model == TINY else models.tokenizer_digest(models.ensure(self.model))

    @property
    def vocabulary_size(self) -> int:
        return VOCABULARY if self.model == TINY else models.vocabulary_size(models.ensure(self.model))

    def load(self) -> Any:
        torch.set_num_threads(self.threads)
        if self.model == TINY:
            return tiny_llama(dtype=getattr(torch, self.dtype))
        return models.load_model(models.ensure(self.model), ModelSettings(model=self.model, dtype=self.dtype))

    def target(self) -> TransformersTarget:
        return TransformersTarget(self.load(), self.slots, self.context)

    def verifier(self, target: Target, clock: WallClock) -> Verifier:
        settings = VerifierSettings.parse({"slots": self.slots, "context": self.context, **dict(self.limits)})
        return Verifier(target, self.model, self.tokenizer_digest, clock, settings)

    def contract(
        self, prompt: Sequence[int], temperature: float = 0.0, seed: int = 0, max_new_tokens: int = 24, **changes: Any
    ) -> Contract:
        sampling = Sampling(temperature=temperature, seed=seed)
        plain = Contract(PROTOCOL_VERSION, self.model, self.tokenizer_digest, self.vocabulary_size, tuple(prompt), sampling)
        return replace(plain, max_new_tokens=max_new_tokens, **changes)


def require(model: str) -> None:
    """Skip the test, in words, when a real model's bytes cannot be had."""
    if model == TINY:
        return
    try:
        models.ensure(model)
    except (ModelUnavailableError, DiskFullError) as error:
        pytest.skip(f"{model} cannot be had here: {error.message}")


# --- the verifier's process


class FreezingTarget:
    """Once told so, computes a number of forwards more and never returns from the next: a machine that hangs in the middle of its work."""

    def __init__(self, target: Target, tell: Callable[[], None]) -> None:
        self.vocabulary_size, self.slots, self.capacity = target.vocabulary_size, target.slots, target.capacity
        self.left: int | None = None
        self._target, self._tell = target, tell

    def forward(self, blocks: Sequence[Block]) -> list[Rows]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self._tell()
                threading.Event().wait()
        return self._target.forward(blocks)


class VerifierProcess:
    """A verifier behind a gRPC server in a process of its own, which ends by SIGKILL only."""

    def __init__(self, served: Served) -> None:
        self.port = 0
        self._served = served
        self._process: Any = None
        self._wire: Connection | None = None

    async def start(self) -> None:
        """Serve on a free port."""
        self._wire, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(self._served, theirs), daemon=True)
        await asyncio.to_thread(self._process.start)
        theirs.close()
        self.port = await self._hear()

    async def freeze_after(self, forwards: int) -> None:
        """From now on: so many forwards, and then no more."""
        self._wire.send(forwards)
        assert await self._hear() == forwards

    async def frozen(self) -> None:
        """Wait until the process hangs in the forward after its last one."""
        assert await self._hear() == "frozen"

    def kill(self) -> None:
        """At once: nothing of what it knew is left, and what it had not sent is never sent."""
        self._process.kill()

    async def buried(self) -> None:
        """Wait for its end."""
        await asyncio.to_thread(self._process.join)
        self._wire.close()

    async def _hear(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while not self._wire.poll():
                await asyncio.sleep(0.005)
        return self._wire.recv()


def _serve(served: Served, wire: Connection) -> None:
    target = FreezingTarget(served.target(), lambda: wire.send("frozen"))
    asyncio.run(_serving(served.verifier(target, WallClock("target")), target, wire))


async def _serving(verifier: Verifier, target: FreezingTarget, wire: Connection) -> None:
    def obey() -> None:
        target.left = wire.recv()
        wire.send(target.left)

    asyncio.get_running_loop().add_reader(wire.fileno(), obey)
    server = Server(verifier, ServerSettings(port=0))
    wire.send(await server.start())
    await server.run_until_signal()


# --- the world


def channel(link: str) -> Channel:
    """A preset's channel. The phases of `bursty` keep their figures and are cut short, so that a short answer meets both."""
    settings = LinkSettings(preset=link)
    if link != "bursty":
        return build(settings)
    good, poor = settings.phases()
    return BurstChannel(replace(good, duration_s=0.6), replace(poor, duration_s=0.15))


class World:
    """A verifier's process, a link before it, and any number of devices. The devices know the link's address only, which stays the same."""

    def __init__(self, served: Served, link: str = "loopback") -> None:
        self.served = served
        self.clock = WallClock("devices")
        self.process = VerifierProcess(served)
        self.link = ShapingProxy(Address(), channel(link), seed=1)
        self._transports: list[GrpcTransport] = []

    async def __aenter__(self) -> Self:
        await self.process.start()
        self._connect()
        await self.link.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        for transport in self._transports:
            await transport.close()
        await self.link.close()
        self.kill()
        await self.process.buried()
        self.clock.close()

    def kill(self) -> None:
        self.process.kill()

    async def restart(self, forwards: int | None = None) -> None:
        """Kill the verifier, if that has not been done, and start another one in its place (which freezes after so many forwards)."""
        self.kill()
        await self.process.buried()
        await self.process.start()
        if forwards is not None:
            await self.process.freeze_after(forwards)
        self._connect()

    def _connect(self) -> None:
        self.link.upstream = Address(port=self.process.port)

    def transport(self) -> GrpcTransport:
        """A connection of its own through the link; closed with the world."""
        address = self.link.address
        self._transports.append(GrpcTransport(f"{address.host}:{address.port}", PATIENT))
        return self._transports[-1]

    def session(
        self, drafter: Drafter, draft_length: int = 4, schedule: str = "sequential", transport: GrpcTransport | None = None, **settings: Any
    ) -> Session:
        """A device. `settings` are more of DeviceSettings."""
        return device(drafter, draft_length, schedule, transport or self.transport(), self.clock, **settings)


# --- devices


def device(drafter: Drafter, draft_length: int, schedule: str, transport: Transport, clock: WallClock, **settings: Any) -> Session:
    """A session that tries again fast and gives up late. `settings` are more of DeviceSettings."""
    link = {"seed": 1, "connect_deadline_s": 60, "receive_deadline_s": 120, "back_off_first_s": 0.02, "back_off_most_s": 0.2}
    parts = DeviceSettings.parse({"link": link, **settings})
    return Session(drafter, Fixed(draft_length), schedules.build(schedule), transport, clock, parts)


def drafter(kind: str, served: Served = Served()) -> Drafter:
    """`model` (agrees with the target often, not always), `lookup` or `random`."""
    if kind == "model":
        return CausalModel(_relative(served.model))
    return {"lookup": PromptLookup, "random": RandomTokens}[kind]()


@functools.cache
def _relative(model: str) -> Any:
    """The served model with its last norm's weights disturbed, so that its likeliest token is often another one."""
    relative = Served(model, "float32" if model == TINY else "bfloat16").load()
    weight = relative.base_model.norm.weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(5))
    weight.data.mul_(1 + 0.4 * noise)
    if model != TINY:
        pack_linears(relative)
    return relative


async def respond(session: Session, contract: Contract, seen: Callable[[int], None] = lambda token: None) -> tuple[int, ...]:
    """The whole response, each token told to `seen` as it comes; every token is final, and none is missing or shown twice."""
    tokens: list[int] = []
    async for token in session.generate(contract):
        assert token.verified and token.position == len(contract.prompt) + len(tokens)
        tokens.append(token.id)
        seen(token.id)
    return tuple(tokens)
