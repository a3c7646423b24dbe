"""A response outlives its verifier: killed and restarted twice behind an LTE link, it ends with the text that nobody disturbed."""

from __future__ import annotations

import asyncio

import pytest

from edge import schedules
from tests.prompts import BUILT_IN, tokens
from tests.references import reference
from tests.worlds import Served, World, drafter, require, respond

PROMPT = (5, 17, 42, 8, 5, 17)
LENGTH = 60


async def freezes_and_dies(world: World, successor: int | None = None) -> None:
    """Wait until the verifier hangs in a forward, kill it, and put another one in its place, which may be bound to freeze as well."""
    await world.process.frozen()
    await world.restart(successor)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("drafting", ["model", "lookup", "random"])
async def test_two_kills_while_drafting(drafting, temperature):
    served = Served()
    contract = served.contract(PROMPT, temperature, 3, LENGTH)
    async with World(served, "lte") as world:
        session = world.session(drafter(drafting), draft_length=4)
        # Of 60 tokens, five a forward at most: 4 forwards bring no more than 20, and 4 more no more than 40. The second verifier's third
        # forward needs a draft, which follows only on its Opened: so each death is met by a response that is unfinished and connected.
        await world.process.freeze_after(4)
        async with asyncio.TaskGroup() as group:
            response = group.create_task(respond(session, contract))
            await freezes_and_dies(world, successor=4)
            await freezes_and_dies(world)
        assert response.result() == reference(served, contract)
        assert session.statistics.reconnects >= 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_two_kills_while_streaming(temperature):
    served = Served()
    contract = served.contract(PROMPT, temperature, 4, LENGTH)
    async with World(served, "lte") as world:
        session = world.session(drafter("lookup"), schedule="stream")
        await world.process.freeze_after(20)
        async with asyncio.TaskGroup() as group:
            response = group.create_task(respond(session, contract))
            await freezes_and_dies(world, successor=20)
            await freezes_and_dies(world)
        assert response.result() == reference(served, contract)
        assert session.statistics.reconnects >= 1


async def test_kills_at_any_moment_and_a_schedule_handed_over_between_them():
    served = Served()
    contract = served.contract(PROMPT, 1.0, 5, LENGTH)
    async with World(served, "lte") as world:
        session = world.session(drafter("model"), draft_length=4)
        tokens = []
        async for token in session.generate(contract):
            tokens.append(token.id)
            if len(tokens) in (10, 30):
                await world.restart()
            if len(tokens) in (15, 40):
                session.switch(schedules.build("stream" if len(tokens) == 15 else "sequential"))
        assert tuple(tokens) == reference(served, contract)
        assert session.statistics.reconnects >= 1  # at token 10 the verifier had been asked for 19 tokens at most


async def test_a_cut_link_resumes_the_same_session_and_loses_nothing():
    served = Served()
    contract = served.contract(PROMPT, 1.0, 6, LENGTH)
    async with World(served, "lte") as world:
        session = world.session(drafter("model"), draft_length=4)
        tokens = []
        async for token in session.generate(contract):
            tokens.append(token.id)
            if len(tokens) in (10, 30):
                world.link.cut()
        assert tuple(tokens) == reference(served, contract)
        assert session.statistics.reconnects >= 2  # each cut comes with the next draft not yet made
        assert (await world.transport().describe()).load.sessions == 0, "a session was left behind instead of resumed"


async def test_a_device_that_goes_on_alone_ends_with_the_verified_text():
    served = Served()
    contract = served.contract(PROMPT, 1.0, 8, LENGTH)
    text: list[int] = []  # as shown: a verified token that differs from the one in its place takes away all after it
    final: list[int] = []
    alone = 0
    async with World(served, "lte") as world, asyncio.TaskGroup() as group:

        async def restart() -> None:
            """Once the device has shown five more tokens by itself, or has drafted all it may."""
            enough = alone + 5
            while alone < enough and len(text) < LENGTH - 1:
                await asyncio.sleep(0.01)
            await world.restart()

        session = world.session(drafter("model"), draft_length=4, fallback={"then": "alone", "deadline_s": 0.5, "give_up_s": 200})
        async for token in session.generate(contract):
            place = token.position - len(PROMPT)
            text[place:] = [token.id] if text[place : place + 1] != [token.id] else text[place:]
            alone += not token.verified
            final += [token.id] * token.verified
            if token.verified and len(final) == 10:
                world.kill()
                group.create_task(restart())
    assert alone >= 5
    assert tuple(final) == tuple(text) == reference(served, contract)


@pytest.mark.models
@pytest.mark.full
async def test_two_kills_with_a_real_model():
    require("smollm2-135m")
    served = Served("smollm2-135m", "bfloat16", context=256)
    contract = served.contract(*tokens(served.model, BUILT_IN[:1]), max_new_tokens=40)
    expected = reference(served, contract)
    async with World(served, "lte") as world:
        session = world.session(drafter("model", served), draft_length=4)
        await world.process.freeze_after(3)
        async with asyncio.TaskGroup() as group:
            response = group.create_task(respond(session, contract))
            await freezes_and_dies(world, successor=3)
            await freezes_and_dies(world)
        assert response.result() == expected
        assert session.statistics.reconnects >= 2
