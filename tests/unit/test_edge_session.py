import asyncio
from collections.abc import Sequence

import pytest

from airdraft.errors import InternalError, UnknownRuleError
from airdraft.messages import Finish, RuleChoice
from edge.schedules import build
from edge.seams import Origin, Token
from edge.session import Session
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from tests.edge_world import KnowingDrafter, ReferenceVerifier, VirtualClock, World, contract, truth, virtually


def session(world: World, wrong_every: int = 3, draft_length: int = 4, schedule: str = "sequential", **settings) -> Session:
    parts = DeviceSettings.parse({"link": {"seed": 1}, **settings})
    return Session(KnowingDrafter(wrong_every), Fixed(draft_length), build(schedule), world, VirtualClock(), parts)


async def response(device: Session, terms=None) -> list[Token]:
    return [token async for token in device.generate(terms or contract())]


def ids(tokens: Sequence[Token]) -> tuple[int, ...]:
    return tuple(token.id for token in tokens)


@pytest.mark.parametrize("schedule", ["sequential", "stream"])
@pytest.mark.parametrize("draft_length", [0, 1, 4, 8])
@pytest.mark.parametrize("wrong_every", [0, 1, 3])
def test_text_is_the_targets_own_for_every_drafter_length_and_schedule(schedule, draft_length, wrong_every):
    tokens = virtually(response(session(World(), wrong_every, draft_length, schedule)))
    assert ids(tokens) == truth(contract())
    assert [token.position for token in tokens] == list(range(3, 43))
    assert all(token.verified for token in tokens)


@pytest.mark.parametrize("schedule", ["sequential", "stream"])
@pytest.mark.parametrize("breakage", ["cut", "restart"])
@pytest.mark.parametrize("first", range(1, 9))
def test_text_survives_breaks_at_any_message(schedule, breakage, first):
    world = World()
    world.cut_after = {first: breakage, first + 3: "cut", first + 7: "restart"}
    device = session(world, schedule=schedule)
    assert ids(virtually(response(device))) == truth(contract())
    assert device.statistics.reconnects == 3


def test_perfect_drafter_brings_a_draft_and_a_bonus_each_round():
    device = session(World(), wrong_every=0)
    tokens = virtually(response(device, contract(max_new_tokens=40)))
    assert device.statistics.rounds == 8
    assert [token.origin for token in tokens] == ([Origin.ACCEPTED] * 4 + [Origin.BONUS]) * 8
    assert device.statistics.tokens_per_round == 5 and device.statistics.mean_accepted_length == 4


def test_hopeless_drafter_brings_one_token_a_round():
    device = session(World(), wrong_every=1)
    virtually(response(device, contract(max_new_tokens=10)))
    assert device.statistics.rounds == 10
    assert device.statistics.acceptance_by_position == (0.0,)


def test_nothing_is_drafted_past_the_last_token():
    world = World()
    virtually(response(session(world, wrong_every=0, draft_length=8), contract(max_new_tokens=12)))
    assert [len(draft.tokens) for draft in world.verifier.drafts] == [8, 2]


def test_nothing_is_drafted_past_a_stop_token():
    whole = truth(contract())
    stop = whole[5]
    terms = contract(stop_tokens=(stop,))
    world = World()
    tokens = virtually(response(session(world, wrong_every=0, draft_length=8), terms))
    assert ids(tokens) == truth(terms) and tokens[-1].id == stop
    assert [len(draft.tokens) for draft in world.verifier.drafts] == [whole.index(stop) + 1]
    assert next(iter(world.verifier.sessions.values())).finish is Finish.STOP_TOKEN


def test_drafter_rolls_back_only_after_a_rejection():
    device = session(World(), wrong_every=0)
    virtually(response(device))
    assert "roll_back" not in device.drafter.calls


def test_steps_lost_with_the_line_are_sent_again_and_not_drafted_again():
    world = World()
    world.cut_after = {2: "cut"}
    device = session(world, wrong_every=0)
    virtually(response(device, contract(max_new_tokens=40)))
    assert device.drafter.calls.count("step") == 32


def test_draft_limit_of_the_verifier_is_kept_to():
    world = World(ReferenceVerifier(draft_limit=2))
    assert ids(virtually(response(session(world, draft_length=8)))) == truth(contract())
    assert max(len(draft.tokens) for draft in world.verifier.drafts[1:]) == 2


@pytest.mark.parametrize(("first", "second"), [("sequential", "stream"), ("stream", "sequential")])
def test_schedules_hand_over_in_mid_response(first, second):
    async def main():
        world = World()
        device = session(world, schedule=first)
        tokens: list[Token] = []
        async for token in device.generate(contract()):
            tokens.append(token)
            if len(tokens) == 12:
                device.switch(build(second))
            if len(tokens) == 25:
                device.switch(build(first))
        return tokens, world

    tokens, world = virtually(main())
    assert ids(tokens) == truth(contract())
    streamed = [token.origin is Origin.STREAMED for token in tokens]
    assert streamed[0] is (first == "stream") and streamed[20] is (second == "stream") and streamed[39] is (first == "stream")
    assert world.opened == 1
    assert world.verifier.switches == ([True, False] if first == "sequential" else [False, True])


def test_switch_while_the_line_is_cut_still_ends_with_the_same_text():
    async def main():
        world = World()
        device = session(world, schedule="stream")
        tokens: list[Token] = []
        async for token in device.generate(contract()):
            tokens.append(token)
            if len(tokens) == 10:
                device.switch(build("sequential"))
                world.cut()
        return tokens

    tokens = virtually(main())
    assert ids(tokens) == truth(contract())
    assert tokens[-1].origin is not Origin.STREAMED


def test_switch_between_responses_holds_for_the_next():
    async def main():
        device = session(World())
        device.switch(build("stream"))
        return await response(device)

    assert {token.origin for token in virtually(main())} == {Origin.STREAMED}


def test_conversation_goes_on_with_a_longer_prompt():
    async def main():
        device = session(World())
        first = await response(device)
        longer = contract((1, 2, 3, *ids(first), 7, 7))
        return ids(await response(device, longer)), truth(longer), device.statistics.rounds

    second, expected, rounds = virtually(main())
    assert second == expected
    assert 0 < rounds < 40


def test_closing_early_hangs_up_and_frees_the_session():
    async def main():
        world = World()
        device = session(world)
        tokens = device.generate(contract())
        await anext(tokens)
        with pytest.raises(InternalError, match="already"):
            await anext(device.generate(contract()))
        await tokens.aclose()
        assert ids(await response(device)) == truth(contract())
        return len(asyncio.all_tasks())

    assert virtually(main()) == 1


def test_unknown_rule_is_refused_before_anything_is_sent():
    world = World()
    with pytest.raises(UnknownRuleError):
        virtually(response(session(world), contract(rule=RuleChoice("exakt"))))
    assert world.opened == 0


def test_statistics_add_up():
    device = session(World(one_way_s=0.05))
    tokens = virtually(response(device))
    found = device.statistics
    assert found.tokens == sum(found.origins.values()) == len(tokens) == found.from_verdicts
    assert found.accepted == found.origins[Origin.ACCEPTED] == sum(found.accepted_at)
    assert found.rounds == found.judged_at[0] == found.traffic.messages_up - 1
    assert found.time_to_first_token_s == pytest.approx(0.121 + found.draft_s_per_step * 4, abs=0.02)
    assert found.time_per_output_token_s == pytest.approx(sum(found.gaps_s) / 39)
    assert found.target_s == pytest.approx(0.015 * found.rounds)
    assert found.wasted == found.draft_steps - found.accepted > 0
    assert found.bytes_up_per_token == found.traffic.bytes_up / 40


def test_statistics_of_nothing_are_zero():
    found = session(World()).statistics
    assert (found.mean_accepted_length, found.tokens_per_round, found.acceptance_rate, found.target_s_per_token) == (0, 0, 0, 0)
    assert (found.time_to_first_token_s, found.time_per_output_token_s, found.gaps_s, found.duration_s) == (0, 0, (), 0)
