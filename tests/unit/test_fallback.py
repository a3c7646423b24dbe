import asyncio

import pytest

from airdraft.errors import LinkLostError
from edge.schedules import build
from edge.seams import Origin, Token
from edge.session import Session
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from tests.edge_world import KnowingDrafter, VirtualClock, World, contract, truth, virtually

TRUTH = truth(contract())


def session(world: World, then: str, wrong_every: int = 0, schedule: str = "sequential", give_up_s: float = 60.0) -> Session:
    fallback = {"then": then, "deadline_s": 2.0, "give_up_s": give_up_s}
    settings = DeviceSettings.parse({"fallback": fallback, "link": {"seed": 1, "back_off_most_s": 1.0}})
    clock = VirtualClock(seconds_per_step=0.1)
    return Session(KnowingDrafter(wrong_every), Fixed(4), build(schedule), world, clock, settings)


async def through_an_outage(device: Session, world: World, lost_after: int, outage_s: float) -> list[Token]:
    """The whole response, with the link gone for a while after so many tokens."""
    tokens: list[Token] = []
    async for token in device.generate(contract()):
        tokens.append(token)
        if len(tokens) == lost_after and not world.down:
            _outage(world, outage_s)
    return tokens


def _outage(world: World, seconds: float) -> None:
    world.down = True
    world.cut()
    asyncio.get_running_loop().call_later(seconds, setattr, world, "down", False)


def shown(tokens: list[Token]) -> list[Token]:
    """What a consumer shows who follows the rule: a verified token replaces an unverified one, and all after it when it differs."""
    text: list[Token] = []
    for token in tokens:
        index = token.position - 3
        assert index <= len(text), "a gap"
        if index < len(text):
            assert not text[index].verified, "a final token was replaced"
        if index < len(text) and text[index].id == token.id:
            text[index] = token
        else:
            text[index:] = [token]
    return text


def test_wait_goes_on_once_the_link_is_back():
    world = World()
    tokens = virtually(through_an_outage(session(world, "wait"), world, 10, 30.0))
    assert tuple(token.id for token in tokens) == TRUTH
    assert all(token.verified for token in tokens)


def test_wait_gives_up_in_the_end():
    world = World()
    with pytest.raises(LinkLostError, match="10 tokens are committed"):
        virtually(through_an_outage(session(world, "wait", give_up_s=20.0), world, 10, 1000.0))


def test_stop_ends_at_the_deadline_with_what_was_committed():
    async def main():
        world = World()
        device, tokens = session(world, "stop"), []
        with pytest.raises(LinkLostError):
            async for token in device.generate(contract()):
                tokens.append(token.id)
                if len(tokens) == 10:
                    lost_s = device.clock.now()
                    _outage(world, 1000.0)
        return tuple(tokens), device.clock.now() - lost_s

    tokens, waited_s = virtually(main())
    assert tokens == TRUTH[:10]
    assert waited_s < 3.0


@pytest.mark.parametrize("schedule", ["sequential", "stream"])
@pytest.mark.parametrize("wrong_every", [0, 1, 5])
@pytest.mark.parametrize("outage_s", [2.5, 3.0, 30.0])
def test_alone_shows_unverified_tokens_and_ends_with_the_targets_text(schedule, wrong_every, outage_s):
    world = World()
    device = session(world, "alone", wrong_every, schedule)
    tokens = virtually(through_an_outage(device, world, 10, outage_s))
    text = shown(tokens)
    assert tuple(token.id for token in text) == TRUTH
    assert all(token.verified for token in text)
    alone = [token for token in tokens if not token.verified]
    assert len(alone) == device.statistics.origins[Origin.ALONE]
    assert {token.origin for token in alone} <= {Origin.ALONE}


def test_alone_comes_to_the_end_of_the_response_and_waits_there():
    world = World()
    device = session(world, "alone")
    tokens = virtually(through_an_outage(device, world, 10, 30.0))
    assert [token.position for token in tokens if not token.verified] == list(range(13, 42))  # the very last is the target's


def test_what_was_drafted_alone_and_right_is_not_drafted_again():
    world = World()
    device = session(world, "alone")
    virtually(through_an_outage(device, world, 10, 30.0))
    accepted = device.statistics.origins[Origin.ACCEPTED]
    assert device.drafter.calls.count("step") - accepted <= 10  # what was in flight when the link went, and bonus positions


@pytest.mark.parametrize("wrong_every", [0, 5])
def test_link_lost_again_while_catching_up(wrong_every):
    async def main():
        world = World()
        device, tokens, outages = session(world, "alone", wrong_every), [], 0
        async for token in device.generate(contract()):
            tokens.append(token)
            due = outages < 2 and token.verified and len(tokens) > 10 + 15 * outages
            if due and not world.down:
                outages += 1
                _outage(world, 6.0)
        return tokens

    tokens = virtually(main())
    assert tuple(token.id for token in shown(tokens)) == TRUTH
    assert sum(not token.verified for token in tokens) > 10


def test_alone_gives_up_too():
    world = World()
    with pytest.raises(LinkLostError):
        virtually(through_an_outage(session(world, "alone", give_up_s=20.0), world, 10, 1000.0))


def test_alone_survives_a_verifier_that_lost_everything():
    async def main():
        world = World()
        device, tokens = session(world, "alone", 5), []
        async for token in device.generate(contract()):
            tokens.append(token)
            if len(tokens) == 10:
                world.verifier.restart()
                _outage(world, 4.0)
        return tokens

    assert tuple(token.id for token in shown(virtually(main()))) == TRUTH
