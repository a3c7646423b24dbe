"""A verifier on a simulated machine: the very one that is deployed, with names for its sessions that a seed decides."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from cloud.seams import Target
from cloud.session_state import Identity
from cloud.settings import VerifierSettings
from cloud.verifier import Verifier
from orchestration.simulation.clock import VirtualClock
from orchestration.simulation.link import VerifierEntry
from orchestration.simulation.profile import MachineProfile


@dataclass(frozen=True, slots=True)
class Served:
    """What a verifier serves. Between verifiers that replace each other the target may be shared, not the sessions."""

    target: Target
    model: str
    tokenizer_digest: bytes


class SimulatedVerifier:
    """A verifier, its machine, and the entry through which links reach it. Make it on the virtual loop."""

    def __init__(self, served: Served, machine: MachineProfile, settings: VerifierSettings | None = None, seed: int = 0) -> None:
        self.clock = VirtualClock(machine)
        self.verifier = Verifier(served.target, served.model, served.tokenizer_digest, self.clock, settings or VerifierSettings())
        self.verifier.sessions.identities = SeededIdentities(seed)
        self.entry = VerifierEntry(self.verifier.converse, self.verifier.describe)

    async def close(self) -> None:
        """End every stream and stop."""
        await self.verifier.close()


class SeededIdentities:
    """Session names as long as real ones, the same in every run. For simulations only: anybody can guess them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._issued = 0

    def __call__(self) -> Identity:
        """The next session's names."""
        self._issued += 1
        digest = blake2b(f"session/{self._seed}/{self._issued}".encode(), digest_size=28).digest()
        return Identity(digest[:6].hex(), digest[12:28])
