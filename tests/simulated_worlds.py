"""A small world in virtual time: the hashing target behind a real verifier, and devices that know how its text goes on."""

from __future__ import annotations

from collections.abc import Sequence

from airdraft import sampling
from airdraft.journal import ResponseRecord
from airdraft.messages import Contract
from airdraft.prefix import Prefix
from cloud.settings import VerifierSettings
from edge.schedules.sequential import Sequential
from edge.seams import DraftStep
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from orchestration.link import Channel, LinkSettings, build
from orchestration.simulation import Air, Cost, MachineProfile, Policy, Served, SimulatedDevice, SimulatedVerifier
from tests.hash_target import MODEL, TOKENIZER_DIGEST, VOCABULARY, HashTarget, logits_after

PHONE = MachineProfile(name="phone", draft=Cost(source="assumed", text="made up for tests", fixed_s=0.008, per_token_s=0.001))
SERVER = MachineProfile(
    name="server",
    verify=Cost(source="assumed", text="made up for tests", fixed_s=0.03, per_token_s=0.001, per_sequence_s=0.002),
    prefill=Cost(source="assumed", text="made up for tests", fixed_s=0.03, per_token_s=0.0005),
)


class Forecaster:
    """Drafts the target's own tokens, but for those whose position a seeded hash picks: `skill` of 10 are right."""

    forward_calls = 0

    def __init__(self, skill: int = 8) -> None:
        self._skill = skill
        self._context = Prefix()
        self._contract: Contract | None = None

    def begin(self, contract: Contract, rows_wanted: bool) -> None:
        self._contract, self._context = contract, Prefix(contract.prompt)

    @property
    def length(self) -> int:
        return len(self._context)

    @property
    def pending(self) -> int:
        return 1

    def extend(self, tokens: Sequence[int]) -> None:
        self._context.append(tokens)

    def step(self) -> DraftStep | None:
        assert self._contract is not None
        position = len(self._context)
        token = sampling.token(logits_after(self._context.digest()), self._contract.sampling, position)
        if position * 7 % 10 >= self._skill:
            token = (token + 1) % VOCABULARY
        self._context.append([token])
        return DraftStep(token, position)

    def roll_back(self, length: int) -> None:
        self._context.cut(length)


def served(slots: int = 4) -> Served:
    return Served(HashTarget(slots=slots, capacity=512), MODEL, TOKENIZER_DIGEST)


def simulated_verifier(seed: int = 0, **limits: object) -> SimulatedVerifier:
    return SimulatedVerifier(served(), SERVER, VerifierSettings.parse(dict(limits)), seed)


def sequential(skill: int = 8, draft_length: int = 4, **settings: object) -> Policy:
    return Policy(Forecaster(skill), Fixed(draft_length), Sequential(), DeviceSettings.parse(dict(settings)))


def device(
    verifier: SimulatedVerifier, policy: Policy | None = None, link: LinkSettings | Channel | None = None, seed: int = 1
) -> SimulatedDevice:
    channel = build(link or LinkSettings()) if isinstance(link, LinkSettings | None) else link
    return SimulatedDevice(f"device-{seed}", policy or sequential(), PHONE, Air(channel, seed), verifier.entry)


async def respond(
    agreed: Contract, policy: Policy | None = None, link: LinkSettings | Channel | None = None, seed: int = 1
) -> ResponseRecord:
    """One response of one device of its own to a verifier of its own."""
    verifier = simulated_verifier()
    one = device(verifier, policy, link, seed)
    try:
        return await one.respond("prompt", agreed)
    finally:
        await one.close()
        await verifier.close()
