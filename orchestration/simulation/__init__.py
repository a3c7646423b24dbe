"""Simulation: unchanged devices and verifiers on a clock that jumps, with machines and links that charge for what they do."""

from orchestration.simulation.clock import VirtualClock
from orchestration.simulation.framing import Framing
from orchestration.simulation.link import SimulatedLink
from orchestration.simulation.loop import VirtualLoop, run
from orchestration.simulation.profile import Cost, MachineProfile

__all__ = ["Cost", "Framing", "MachineProfile", "SimulatedLink", "VirtualClock", "VirtualLoop", "run"]
