"""One scenario, simulated and for real: does virtual time tell what a clock on the wall does?

The real side is all real: gRPC over TCP through the shaping proxy. The simulated side runs the same parts in virtual time, with a profile
of this machine that is measured in the same minutes, between the real responses, so that both see the machine as busy as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from statistics import median

from airdraft.clock import WallClock
from airdraft.journal import ResponseRecord
from airdraft.messages import Contract
from cloud.server import Server, ServerSettings
from cloud.settings import VerifierSettings
from cloud.verifier import Verifier
from edge.grpc_transport import GrpcTransport
from edge.schedules.sequential import Sequential
from edge.seams import Drafter
from edge.session import Session
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from orchestration.link import Address, LinkSettings, ShapingProxy, build
from orchestration.simulation.device import Air, Policy, SimulatedDevice
from orchestration.simulation.framing import BARE
from orchestration.simulation.link import ConnectionSettings
from orchestration.simulation.loop import run
from orchestration.simulation.measure import Plan, Point, fit, measure_drafter, measure_verifier
from orchestration.simulation.profile import MachineProfile
from orchestration.simulation.verifier import Served, SimulatedVerifier

TOLERANCE = 0.15
LINKS = ("loopback", "5g", "lte", "bursty")
BETWEEN = Plan(verify_tokens=(1, 5, 9), sequences=(1,), prefill_tokens=(8, 32), draft_tokens=(1, 2, 8), context=64, repetitions=1)
QUESTIONS = 5  # asked of the verifier in each measurement, to learn what a message costs beside the models
VERIFIER = VerifierSettings(slots=1, share_prefixes=False)  # measuring overwrites what the target's slots hold between responses
DEVICE = DeviceSettings()


@dataclass(frozen=True, slots=True)
class Parts:
    """What both sides run. `drafter` is used by one response at a time."""

    served: Served
    drafter: Drafter
    contracts: tuple[Contract, ...]  # one response each, one after another on the same link
    draft_length: int = 4
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way's responses, taken together."""

    token_s: float  # TPOT: Σ (last − first) / Σ (tokens − 1)
    rounds: int
    tokens: int
    forward_s: float  # median of a verification, queue apart


@dataclass(frozen=True, slots=True)
class Comparison:
    """One link, both ways."""

    link: str
    simulated: Outcome
    real: Outcome
    profile: MachineProfile
    handling_s: float

    @property
    def error(self) -> float:
        """Simulated beyond real, as a share of real."""
        return self.simulated.token_s / self.real.token_s - 1.0

    @property
    def agrees(self) -> bool:
        """Within the tolerance."""
        return abs(self.error) <= TOLERANCE


def crosscheck(parts: Parts, links: Sequence[str] = LINKS, told: Callable[[str], None] = lambda words: None) -> list[Comparison]:
    """Compare on each link preset. Takes about three times as long as the responses themselves; `told` hears how far it is.

    Runs loops of its own, one after another. Raises SettingsError for a link that is no preset.
    """
    settings = [LinkSettings.parse({"preset": link, "seed": parts.seed}, "crosscheck") for link in links]
    found = []
    for link in settings:
        told(f"{link.name}: {len(parts.contracts)} responses for real")
        real = asyncio.run(_for_real(parts, link))
        told(f"{link.name}: the same in virtual time")
        simulated = run(_simulated(parts, link, real))
        found.append(Comparison(link.name, outcome(simulated), outcome(real.records), real.profile, real.handling_s))
    return found


def outcome(records: Sequence[ResponseRecord]) -> Outcome:
    """Responses taken together."""
    span_s = sum(record.bursts[-1][0] - record.bursts[0][0] for record in records)
    drafts = [line for record in records for line in record.rounds if line.kind == "draft"]
    tokens = sum(len(record.tokens) for record in records)
    return Outcome(span_s / max(tokens - len(records), 1), len(drafts), tokens, median(line.timings.forward_s for line in drafts))


@dataclass(frozen=True, slots=True)
class _Real:
    """The responses, how long it was quiet before each, and what the machine was measured to take meanwhile."""

    records: list[ResponseRecord]
    pauses_s: list[float]
    profile: MachineProfile
    handling_s: float


class _Measurements:
    """Points of one machine, gathered over many short measurements."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._points: dict[str, list[Point]] = {"verify": [], "prefill": [], "draft": []}
        self.handling_s: list[float] = []

    async def gather(self, transport: GrpcTransport) -> None:
        """One short measurement. Nothing else may be at work."""
        contract = self._parts.contracts[0]
        verify, prefill = measure_verifier(self._parts.served.target, contract, BETWEEN)
        self._points["verify"] += verify
        self._points["prefill"] += prefill
        self._points["draft"] += measure_drafter(self._parts.drafter, contract, BETWEEN)
        for _ in range(QUESTIONS):
            started_s = time.perf_counter()
            await transport.describe()
            self.handling_s.append((time.perf_counter() - started_s) / 2)

    def profile(self) -> MachineProfile:
        """Medians of each combination, fitted."""
        text = "measured on this machine between the responses of the cross-check"
        costs = {kind: fit(_medians(points), text) for kind, points in self._points.items()}
        return MachineProfile(name="here", machine="this machine", verify=costs["verify"], prefill=costs["prefill"], draft=costs["draft"])


def _medians(points: Sequence[Point]) -> list[Point]:
    combinations = dict.fromkeys((point.tokens, point.sequences) for point in points)
    return [
        Point(tokens, sequences, median(point.seconds for point in points if (point.tokens, point.sequences) == (tokens, sequences)))
        for tokens, sequences in combinations
    ]


async def _for_real(parts: Parts, link: LinkSettings) -> _Real:
    served, cloud_clock, device_clock = parts.served, WallClock("target"), WallClock("drafter")
    verifier = Verifier(served.target, served.model, served.tokenizer_digest, cloud_clock, VERIFIER)
    server = Server(verifier, ServerSettings(port=0))
    address = Address(port=await server.start())
    measurements, records, pauses_s = _Measurements(parts), [], []
    try:
        async with ShapingProxy(address, build(LinkSettings())) as clear, ShapingProxy(address, build(link), seed=parts.seed) as proxy:
            plain, transport = GrpcTransport(f"127.0.0.1:{clear.address.port}"), GrpcTransport(f"127.0.0.1:{proxy.address.port}")
            session = Session(parts.drafter, Fixed(parts.draft_length), Sequential(), transport, device_clock, settings=DEVICE)
            for number, contract in enumerate(parts.contracts):
                started_s = time.perf_counter()
                await measurements.gather(plain)
                pauses_s.append(time.perf_counter() - started_s)
                async with aclosing(session.generate(contract)) as tokens:
                    committed = [token.id async for token in tokens]
                records.append(session.statistics.record(str(number), "real", contract, committed))
            await plain.close()
            await transport.close()
    finally:
        await server.stop()
        await verifier.close()
        cloud_clock.close()
        device_clock.close()
    return _Real(records, pauses_s, measurements.profile(), median(measurements.handling_s))


async def _simulated(parts: Parts, link: LinkSettings, real: _Real) -> list[ResponseRecord]:
    verifier = SimulatedVerifier(parts.served, real.profile, VERIFIER)
    connection = ConnectionSettings(framing=BARE, open_round_trips=1, handling_s=real.handling_s)
    policy = Policy(parts.drafter, Fixed(parts.draft_length), Sequential(), DEVICE)
    device = SimulatedDevice("simulated", policy, real.profile, Air(build(link), parts.seed, connection), verifier.entry)
    records = []
    for number, (contract, pause_s) in enumerate(zip(parts.contracts, real.pauses_s, strict=True)):
        await asyncio.sleep(pause_s)
        records.append(await device.respond(str(number), contract))
    await device.close()
    await verifier.close()
    return records
