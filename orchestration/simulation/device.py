"""A device on a simulated machine: the very session that is deployed, on a link of its own to a simulated verifier."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field, replace

from airdraft.journal import ResponseRecord
from airdraft.messages import Contract
from edge.link_meter import LinkMeter
from edge.seams import Drafter, Schedule, StoppingRule
from edge.session import Session
from edge.settings import DeviceSettings
from orchestration.link.channel import Channel
from orchestration.link.reports import RadioReports, ReportSettings
from orchestration.link.window import WindowSettings
from orchestration.simulation.clock import VirtualClock
from orchestration.simulation.link import ConnectionSettings, SimulatedLink, VerifierEntry
from orchestration.simulation.profile import MachineProfile


@dataclass(frozen=True, slots=True)
class Policy:
    """Who drafts, for how long, and who works when. Drafter and stopping rule keep state, so each device has its own."""

    drafter: Drafter
    stopping: StoppingRule
    schedule: Schedule
    settings: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True, slots=True)
class Air:
    """The way from one device to its verifier. `reports` None: the device knows of its link only what it measures."""

    channel: Channel
    seed: int = 0
    connection: ConnectionSettings = field(default_factory=ConnectionSettings)
    reports: ReportSettings | None = None
    window: WindowSettings | None = None  # TCP's congestion window; None: never a bound


class SimulatedDevice:
    """One device, its link and its machine. Make it on the virtual loop, whose time 0 is the channel's."""

    def __init__(self, name: str, policy: Policy, machine: MachineProfile, air: Air, verifier: VerifierEntry) -> None:
        self.name = name
        self.clock = VirtualClock(machine)
        self.link = SimulatedLink(verifier, air.channel, seed=air.seed, settings=air.connection, window=air.window)
        modem = RadioReports(self.link.transit.state, self.clock.now, air.reports, air.seed) if air.reports else None
        settings = _seeded(policy.settings, air.seed)
        self.session = Session(
            policy.drafter, policy.stopping, policy.schedule, self.link, self.clock, settings=settings, meter=LinkMeter(modem)
        )

    async def respond(self, prompt: str, contract: Contract) -> ResponseRecord:
        """Generate one response and answer with its record, bytes with framing among its figures. Raises what `Session.generate` does."""
        before = replace(self.link.framed)
        async with aclosing(self.session.generate(contract)) as tokens:
            committed = [token.id async for token in tokens if token.verified]
        record = self.session.statistics.record(prompt, self.name, contract, committed)
        framed = {
            "framed_bytes_up": self.link.framed.bytes_up - before.bytes_up,
            "framed_bytes_down": self.link.framed.bytes_down - before.bytes_down,
            "connections": self.link.framed.connections - before.connections,
        }
        return replace(record, figures={**record.figures, **framed})

    async def close(self) -> None:
        """Hang up."""
        await self.link.close()


def _seeded(settings: DeviceSettings, seed: int) -> DeviceSettings:
    """Without a seed of its own the pauses before reconnecting would be drawn anew in every run."""
    if settings.link.seed is not None:
        return settings
    return settings.model_copy(update={"link": settings.link.model_copy(update={"seed": seed})})
