import asyncio

import pytest

from airdraft.errors import CapacityError, DrainingError, ForgedSessionError, LinkLostError, MalformedMessageError, UnavailableError
from airdraft.messages import Draft
from airdraft.transport import Traffic
from edge.line import Line
from edge.link_meter import LinkMeter
from edge.seams import DraftStep
from edge.settings import DeviceSettings
from tests.edge_world import ReferenceVerifier, VirtualClock, World, contract, truth, virtually

TERMS = contract()
TRUTH = truth(TERMS)


def line_to(world: World, **settings) -> Line:
    link = {"seed": 1, **settings.pop("link", {})}
    return Line(world, TERMS, VirtualClock(), DeviceSettings.parse({"link": link, **settings}), LinkMeter())


def right(line: Line, count: int) -> list[DraftStep]:
    """Steps with the target's own next tokens."""
    generated = line.state.generated
    return [DraftStep(TRUTH[generated + index], 3 + generated + index) for index in range(count)]


async def a_round(line: Line, count: int = 2):
    await line.send_draft(right(line, count))
    return await line.receive()


def test_a_round_commits_and_names_the_judged_draft():
    async def main():
        line = line_to(World())
        await line.start()
        arrival = await a_round(line)
        await line.close()
        assert tuple(token.id for token in arrival.tokens) == TRUTH[:3]
        assert arrival.accepted == 2 and arrival.draft is not None and not arrival.restarted

    virtually(main())


def test_first_draft_travels_behind_open_without_waiting_for_its_answer():
    async def main():
        world = World(one_way_s=1.0)
        line = line_to(world)
        await line.start()
        await a_round(line)
        assert line.clock.now() == pytest.approx(2 * 1.0 + world.verify_s)
        await line.close()

    virtually(main())


def test_first_draft_over_the_limit_that_opened_then_grants_is_mended():
    async def main():
        world = World(ReferenceVerifier(draft_limit=1))
        line = line_to(world)
        await line.start()
        arrival = await a_round(line, 4)
        assert arrival.restarted and line.state.draft_limit == 1
        assert tuple(token.id for token in (await a_round(line, 1)).tokens) == TRUTH[:2]
        await line.close()

    virtually(main())


@pytest.mark.parametrize(("breakage", "opens"), [("cut", 1), ("restart", 2)])
def test_cut_line_resumes_or_opens_anew_and_says_that_it_restarted(breakage, opens):
    async def main():
        world = World()
        line = line_to(world)
        await line.start()
        await a_round(line)
        getattr(world, breakage)()
        arrival = await a_round(line)
        assert arrival.restarted and arrival.tokens == () and line.state.drafts == ()
        assert world.verifier.opens == opens and line.statistics.reconnects == 1
        assert tuple(token.id for token in (await a_round(line)).tokens) == TRUTH[3:6]
        await line.close()

    virtually(main())


def test_verdict_lost_with_the_line_comes_with_opened():
    async def main():
        world = World()
        line = line_to(world)
        await line.start()
        await a_round(line)
        await line.send_draft(right(line, 2))
        await asyncio.sleep(world.one_way_s + world.verify_s + world.one_way_s / 2)
        world.cut()
        arrival = await line.receive()
        assert arrival.restarted and tuple(token.id for token in arrival.tokens) == TRUTH[3:6]
        await line.close()

    virtually(main())


def test_silence_is_given_up_after_the_receive_deadline_and_resumed():
    async def main():
        world = World()
        line = line_to(world, link={"receive_deadline_s": 2.0})
        await line.start()
        await a_round(line)
        world.silent = True
        asyncio.get_running_loop().call_later(3.0, setattr, world, "silent", False)
        arrival = await a_round(line)
        assert arrival.restarted and 2.0 < line.clock.now() < 4.0
        await line.close()

    virtually(main())


def test_unreachable_server_is_tried_with_growing_pauses_until_patience_ends():
    async def main():
        world = World()
        world.down = True
        line = line_to(world, fallback={"then": "wait", "give_up_s": 20.0})
        await line.start()
        with pytest.raises(LinkLostError, match="attempts"):
            await line.receive()
        assert 10.0 < line.clock.now() <= 20.0  # the last pause would have ended after that
        await line.close()

    virtually(main())


def test_pauses_are_the_same_for_the_same_seed_and_bounded():
    async def pauses(seed: int) -> list[float]:
        line = line_to(World(), link={"seed": seed, "back_off_first_s": 0.1, "back_off_most_s": 1.0})
        return [line._pause(UnavailableError("gone"), attempt) for attempt in range(40)]

    first = virtually(pauses(1))
    assert first == virtually(pauses(1)) != virtually(pauses(2))
    assert first[0] <= 0.1 and 0.5 < max(first) <= 1.0


def test_server_that_comes_up_late_is_found():
    async def main():
        world = World()
        world.down = True
        line = line_to(world)
        await line.start()
        asyncio.get_running_loop().call_later(7.0, setattr, world, "down", False)
        assert (await line.receive()).restarted
        assert 7.0 < line.clock.now() < 13.0
        await line.close()

    virtually(main())


def test_full_server_is_asked_again_when_it_said():
    async def main():
        world = World()
        world.refusals = [CapacityError("full", retry_after_s=3.0)]
        line = line_to(world)
        await line.start()
        assert (await line.receive()).restarted
        assert 3.0 <= line.clock.now() < 4.0
        await line.close()

    virtually(main())


def test_server_that_stays_full_is_reported_as_full():
    async def main():
        world = World()
        world.refusals = [CapacityError("full", retry_after_s=1000.0)] * 50
        line = line_to(world, fallback={"give_up_s": 100.0}, link={"retry_after_most_s": 10.0})
        await line.start()
        with pytest.raises(CapacityError, match="stayed full"):
            await line.receive()
        assert 5 < world.opened < 12
        await line.close()

    virtually(main())


def test_draining_server_is_left_and_the_next_one_taken():
    async def main():
        world = World()
        world.refusals = [DrainingError("going away", retry_after_s=0.5)]
        line = line_to(world)
        await line.start()
        assert (await line.receive()).restarted
        await line.close()

    virtually(main())


@pytest.mark.parametrize("fatal", [ForgedSessionError("not yours"), MalformedMessageError("what was that")])
def test_what_trying_again_cannot_mend_is_raised_at_once(fatal):
    async def main():
        world = World()
        world.refusals = [fatal]
        line = line_to(world)
        await line.start()
        with pytest.raises(type(fatal), match=fatal.message):
            await line.receive()
        assert world.opened == 1
        await line.close()

    virtually(main())


def test_message_that_cannot_be_sent_is_reported_as_what_it_is():
    class Picky(World):
        async def open(self):
            stream = await super().open()
            send = stream.send

            async def picky(message):
                if isinstance(message, Draft):
                    raise MalformedMessageError("too large")
                await send(message)

            stream.send = picky
            return stream

    async def main():
        line = line_to(Picky())
        await line.start()
        with pytest.raises(MalformedMessageError, match="too large"):
            await a_round(line)
        await line.close()

    virtually(main())


def test_traffic_is_counted_over_all_streams():
    async def main():
        world = World()
        line = line_to(world)
        await line.start()
        await a_round(line)
        before: Traffic = line.statistics.traffic
        assert (before.messages_up, before.messages_down) == (2, 2) and before.bytes_up > 0 < before.bytes_down
        world.cut()
        await a_round(line)
        await a_round(line)
        after = line.statistics.traffic
        assert after.messages_down == 4 and after.bytes_up > before.bytes_up
        await line.close()
        assert line.statistics.traffic == after

    virtually(main())


def test_meter_sees_the_link_without_the_verifiers_time():
    async def main():
        world = World(one_way_s=0.05, verify_s=0.021)  # the reference verifier reports 21 ms of queue and forward
        world.prefill_s = 1.0
        line = line_to(world)
        await line.start()
        for _ in range(4):
            await a_round(line)
        assert line.channel.round_trip_s == pytest.approx(0.1, abs=1e-3)
        await line.close()

    virtually(main())


def test_closing_an_unstarted_or_dead_line_is_quiet():
    async def main():
        world = World()
        await line_to(world).close()
        world.down = True
        line = line_to(world)
        await line.start()
        await asyncio.sleep(1)
        await line.close()
        await line.close()

    virtually(main())
