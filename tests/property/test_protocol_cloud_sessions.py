"""Many sessions at one verifier with too few slots, cut and resumed and switched at random: each ends with the target's own response."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from airdraft.errors import CapacityError
from airdraft.messages import Opened, Streamed, Verdict
from airdraft.settings import Sampling
from cloud.verifier import Verifier
from tests.hash_target import VOCABULARY, contract, response
from tests.verifier_world import Device, world
from tests.virtual_time import VirtualLoop


async def live(verifier: Verifier, device: Device, chance: random.Random) -> None:
    """A device that does whatever the protocol allows, until its response has ended."""
    await device.open(stream=chance.random() < 0.3)
    while not device.finished:
        await asyncio.sleep(chance.choice((0, 0, 0.003, 0.2)))
        match chance.randrange(6):
            case 0:
                await cut(verifier, device, chance)
            case 1:
                await stream_a_while(device, chance)
            case _:
                await draft(device, chance)


async def draft(device: Device, chance: random.Random) -> None:
    """A draft, perhaps twice; stale if the verifier is streaming."""
    tokens = [(token + (chance.random() < 0.2)) % VOCABULARY for token in device.true_tokens(chance.randrange(7))]
    message = device.draft(tokens)
    copies = chance.choice((1, 1, 2))
    for _ in range(copies):
        device.send(message)
    length = len(device.committed)
    while copies and not device.finished:
        answer = await device.receive()
        if isinstance(answer, Verdict):
            copies -= 1
            if len(device.committed) == length and answer.outcome == 0:
                device.committed.append((*tokens[: answer.accepted], *(() if answer.token is None else (answer.token,))))
                assert device.committed.digest() == answer.digest


async def stream_a_while(device: Device, chance: random.Random) -> None:
    device.stream(True)
    await asyncio.sleep(chance.random() * 0.2)
    device.stream(False)
    while not device.finished:
        answer = await device.receive()
        if isinstance(answer, Streamed) and answer.last:
            return


async def cut(verifier: Verifier, device: Device, chance: random.Random) -> None:
    """Lose the stream at any moment of a round, and whatever was on it."""
    device.send(device.draft(device.true_tokens(3)))
    await asyncio.sleep(chance.choice((0, 0.001, 0.03, 0.1)))
    await device.hang_up()
    await asyncio.sleep(chance.choice((0, 1)))
    opened = await device.resume(verifier, stream=chance.random() < 0.3)
    assert isinstance(opened, Opened)


async def together(seed: int, slots: int, sessions: int) -> None:
    chance = random.Random(seed)
    verifier = world(slots=slots, max_draft=8, batch_wait_s=chance.choice((0.0, 0.002)), slot_wait_s=1000)
    shared = tuple(chance.randrange(VOCABULARY) for _ in range(30))
    devices = []
    for number in range(sessions):
        prompt = (*shared[: chance.randrange(1, 30)], number)
        devices.append(Device(verifier, contract(prompt=prompt, sampling=Sampling(temperature=1, seed=number), max_new_tokens=30)))
    await asyncio.gather(*(live(verifier, device, random.Random(seed + number)) for number, device in enumerate(devices)))
    assert [device.response for device in devices] == [response(device.contract)[0] for device in devices]
    for device in devices:
        await device.hang_up()
    assert not any(slot.pinned for slot in verifier.slots.view()) and verifier.batcher.queued_rows == 0
    assert verifier.counts.emitted == 30 * sessions
    assert CapacityError.code not in verifier.counts.errors


@given(seed=st.integers(0, 10**6), slots=st.integers(1, 4), sessions=st.integers(1, 6))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_every_session_ends_with_the_targets_own_response(seed, slots, sessions):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(together(seed, slots, sessions))
