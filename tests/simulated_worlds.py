"""A small world in virtual time: the hashing target behind a real verifier, and devices that know how its text goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from airdraft import sampling
from airdraft.journal import Header, ResponseRecord, write_journal
from airdraft.messages import Contract
from airdraft.prefix import Prefix
from cloud.settings import VerifierSettings
from edge.schedules.sequential import Sequential
from edge.seams import DraftStep
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from orchestration.link import Channel, LinkSettings, build
from orchestration.simulation import Air, Cost, MachineProfile, Policy, Served, SimulatedDevice, SimulatedVerifier
from tests.hash_target import MODEL, TOKENIZER_DIGEST, VOCABULARY, HashTarget, contract, logits_after

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


# --- a run with a bit of everything, to be done twice

LINKS = ("5g", "bursty", "rayleigh", "gilbert-elliott", "outages")


def link_named(name: str) -> LinkSettings:
    if name in ("5g", "lte", "bursty"):
        return LinkSettings(preset=name)
    parameters = {"rayleigh": {"mean_snr_db": 5.0}, "outages": {"up_s": 1.0, "outage_s": 0.3}}.get(name, {})
    return LinkSettings(preset="5g", channel=name, parameters=parameters, bandwidth_mhz=0.05, seed=3)


async def fleet() -> list[ResponseRecord]:
    """Five devices on five links at one verifier that has too few slots for them; one is cut off on the way."""
    verifier = simulated_verifier(slots=4)
    devices = [device(verifier, sequential(skill=number + 4), link_named(name), seed=number) for number, name in enumerate(LINKS)]

    async def one(number: int) -> ResponseRecord:
        await asyncio.sleep(0.01 * number)
        return await devices[number].respond(f"prompt {number}", contract(prompt=(number + 1, 2, 3), max_new_tokens=30))

    asyncio.get_running_loop().call_later(0.6, devices[1].link.cut)
    records = await asyncio.gather(*(one(number) for number in range(len(devices))))
    for gone in devices:
        await gone.close()
    await verifier.close()
    return records


def journal_of(path: Path, records: list[ResponseRecord]) -> bytes:
    write_journal(path, Header(simulated=True, settings={"links": LINKS}, sources=SERVER.sources()), records)
    return path.read_bytes()
