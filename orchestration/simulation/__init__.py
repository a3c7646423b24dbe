"""Simulation: unchanged devices and verifiers on a clock that jumps, with machines and links that charge for what they do."""

from orchestration.simulation.clock import VirtualClock
from orchestration.simulation.device import Air, Policy, SimulatedDevice
from orchestration.simulation.framing import Framing
from orchestration.simulation.link import ConnectionSettings, SimulatedLink, VerifierEntry
from orchestration.simulation.loop import VirtualLoop, run
from orchestration.simulation.profile import Cost, MachineProfile
from orchestration.simulation.verifier import Served, SimulatedVerifier

__all__ = [
    "Air",
    "ConnectionSettings",
    "Cost",
    "Framing",
    "MachineProfile",
    "Policy",
    "Served",
    "SimulatedDevice",
    "SimulatedLink",
    "SimulatedVerifier",
    "VerifierEntry",
    "VirtualClock",
    "VirtualLoop",
    "run",
]
