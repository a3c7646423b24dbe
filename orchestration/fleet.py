"""Devices and verifiers on one virtual loop, from one device with one prompt to thousands: runs a scenario and hands back its responses.

It makes nothing of them; `orchestration.metrics` does.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

from airdraft.errors import AirdraftError, InternalError
from airdraft.journal import ResponseRecord
from edge import schedules, stopping
from orchestration import link
from orchestration.link.channel import Channel
from orchestration.material import Material
from orchestration.scenario import Scenario
from orchestration.simulation import Air, Policy, SimulatedDevice, SimulatedVerifier, run
from orchestration.simulation.profile import MachineProfile
from orchestration.workload import Turn, plan, until

COLLECT_EVERY = 50_000  # new objects


@dataclass(frozen=True, slots=True)
class Response:
    """One response that a device was to make: its record, or why there is none."""

    device: int
    prompt: int  # number in the material
    record: ResponseRecord | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class FleetResult:
    """All responses in the order of devices and their turns, and how long the verifiers computed, all together."""

    responses: tuple[Response, ...]
    verifiers_busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """A scenario with its material: which prompts are answered, on which machines."""

    scenario: Scenario
    material: Material
    prompts: tuple[int, ...]
    device: MachineProfile
    verifier: MachineProfile

    def run(self) -> FleetResult:
        """From virtual time 0 until every device has made its last response.

        Raises InternalError when a response is not what the recorded target said (then something in airdraft is broken), or when nothing
        could go on before the end. A response that fails in an ordinary way is reported as such.
        """
        with _rare_collection():
            return run(self._run(), horizon_s=self.scenario.horizon_s)

    async def _run(self) -> FleetResult:
        scenario = self.scenario
        verifiers = [self._verifier(number) for number in range(scenario.verifiers)]
        channels = _Channels(scenario)
        turns = plan(scenario.workload, scenario.devices, len(self.prompts), scenario.seed)
        try:
            async with asyncio.TaskGroup() as group:
                works = [
                    group.create_task(self._work(number, turns[number], channels, verifiers[number % len(verifiers)]))
                    for number in range(scenario.devices)
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        for verifier in verifiers:
            await verifier.close()
        responses = tuple(response for work in works for response in work.result())
        return FleetResult(responses, sum(verifier.clock.busy_s for verifier in verifiers))

    def _verifier(self, number: int) -> SimulatedVerifier:
        scenario = self.scenario
        served = self.material.served(scenario.verifier)
        return SimulatedVerifier(served, self.verifier, scenario.verifier, seed=derived(scenario.seed, "verifier", number))

    async def _work(self, number: int, turns: Sequence[Turn], channels: _Channels, verifier: SimulatedVerifier) -> list[Response]:
        await until(turns[0].earliest_s)
        device = self._device(number, channels.of(number), verifier)
        try:
            return [await self._respond(number, device, turn) for turn in turns]
        finally:
            await device.close()

    def _device(self, number: int, channel: Channel, verifier: SimulatedVerifier) -> SimulatedDevice:
        scenario, settings = self.scenario, self.scenario.device
        policy = Policy(self.material.drafter(settings), stopping.build(settings), schedules.build(settings.schedule), settings)
        air = Air(channel, derived(scenario.seed, "device", number), scenario.connection, scenario.reports, scenario.link.window)
        return SimulatedDevice(str(number), policy, self.device, air, verifier.entry)

    async def _respond(self, number: int, device: SimulatedDevice, turn: Turn) -> Response:
        await turn.come()
        prompt = self.prompts[turn.prompt]
        contract = self.material.contract(prompt, self.scenario.device)
        try:
            record = await device.respond(self.material.prompts[prompt].name, contract)
        except InternalError:
            raise
        except AirdraftError as error:
            return Response(number, prompt, failure=f"{error.code}: {error.message}")
        self._check(prompt, record)
        return Response(number, prompt, record)

    def _check(self, prompt: int, record: ResponseRecord) -> None:
        expected = self.material.expected(prompt, self.scenario.device)
        if expected is not None and record.tokens != expected:
            raise InternalError(
                f"the response to {record.name!r} is not the recorded one: it has {len(record.tokens)} tokens, {len(expected)} expected, "
                f"and they agree on the first {_shared(record.tokens, expected)}. Report this with the scenario."
            )


class _Channels:
    """Each device's channel. One that nothing random goes into is the same for all, and made once."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._shared = link.build(scenario.link) if scenario.link.channel is None else None

    def of(self, device: int) -> Channel:
        """The channel of the device of that number."""
        settings = self._scenario.link
        if self._shared is not None:
            return self._shared
        return link.build(settings.model_copy(update={"seed": derived(self._scenario.seed, f"channel/{settings.seed}", device)}))


@contextmanager
def _rare_collection() -> Iterator[None]:
    """A simulation makes many objects and few cycles: looking for them at every thousandth object takes a sixth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def derived(seed: int, purpose: str, number: int) -> int:
    """A seed of 63 bits of its own for each purpose and number."""
    digest = blake2b(f"{purpose}/{seed}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    return next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other)))
