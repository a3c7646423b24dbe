from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from airdraft.messages import Finish, Open, Opened, Outcome, Streamed, Verdict
from airdraft.settings import Sampling
from tests.hash_target import VOCABULARY, contract, response
from tests.verifier_world import LONG_PROMPT, Device, target_of, world
from tests.virtual_time import in_virtual_time


@in_virtual_time
async def test_drafting_ends_with_the_targets_own_response_and_the_stream_in_good_order():
    device = Device(world(), contract())
    await device.open()
    await device.finish_drafting()
    assert (device.response, Finish.LENGTH) == response(device.contract)
    assert await device.receive() is None


@in_virtual_time
async def test_a_round_takes_one_forward_of_the_draft_and_the_token_before_it():
    verifier = world()
    device = Device(verifier, contract(prompt=(1, 2, 3, 4, 5)))
    await device.open()
    await asyncio.sleep(1)
    for _ in range(3):
        await device.round_trip(device.true_tokens(4))
    await device.round_trip([(token + 1) % VOCABULARY for token in device.true_tokens(3)])
    await device.round_trip(())
    blocks = [block for blocks in target_of(verifier).calls for block in blocks]
    assert [(block.position, len(block.tokens), block.wanted) for block in blocks] == [
        (0, 4, 0), (4, 5, 5), (9, 5, 5), (14, 5, 5), (19, 4, 4), (20, 1, 1),
    ]  # fmt: skip


@in_virtual_time
async def test_a_draft_sent_right_behind_open_needs_no_round_trip_first():
    verifier = world()
    device = Device(verifier, contract())
    device.send(Open(device.contract))
    device.send(device.draft(device.true_tokens(4)))
    assert isinstance(await device.receive(), Opened)
    verdict = await device.receive()
    assert isinstance(verdict, Verdict) and verdict.accepted == 4


@in_virtual_time
async def test_opened_comes_before_the_prompt_is_computed_and_the_prompt_before_the_first_draft():
    verifier = world()
    device = Device(verifier, contract(prompt=LONG_PROMPT))
    await device.open()
    assert asyncio.get_running_loop().time() == 0
    await asyncio.sleep(5)
    assert target_of(verifier).prefilled_rows == len(LONG_PROMPT) - 1
    verdict = await device.round_trip(device.true_tokens(2))
    assert verdict.timings.share_s > verdict.timings.forward_s  # the prompt's share is in the first answer
    assert device.share_s == pytest.approx(verifier.batcher.counts.compute_s)


@in_virtual_time
async def test_streaming_ends_with_the_same_response_one_row_a_token():
    verifier = world()
    device = Device(verifier, contract())
    await device.open(stream=True)
    await device.finish_streaming()
    assert (device.response, Finish.LENGTH) == response(device.contract)
    assert await device.receive() is None
    assert len(target_of(verifier).calls) == 40 and verifier.counts.streamed == verifier.counts.emitted == 40


@in_virtual_time
async def test_stream_mode_is_switched_on_and_off_within_a_response():
    device = Device(world(), contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    device.stream(True)
    for _ in range(3):
        await device.receive()
    device.stream(False)
    while not (isinstance(message := await device.receive(), Streamed) and message.last):
        assert message is not None
    assert 6 <= len(device.response) < 12
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_a_draft_right_behind_the_end_of_stream_mode_is_judged():
    device = Device(world(), contract())
    await device.open(stream=True)
    await device.receive()
    device.stream(False)
    for ahead in range(4):  # the device cannot know how far the stream will have come; one of these is right
        prefix = device.committed.copy()
        prefix.append(device.true_tokens(ahead))
        device.send(replace(device.draft(()), position=len(prefix), digest=prefix.digest()))
    answers = []
    while sum(isinstance(answer, Verdict) for answer in answers) < 4:
        answers.append(await device.receive())
    verdicts = [answer for answer in answers if isinstance(answer, Verdict)]
    assert sorted(verdict.outcome for verdict in verdicts)[0] is Outcome.JUDGED
    assert asyncio.get_running_loop().time() < 1


@in_virtual_time
async def test_a_prompt_is_not_computed_any_further_once_its_device_has_left():
    verifier = world(prefill_rows=8, max_rows=32)
    device = Device(verifier, contract(prompt=LONG_PROMPT))
    await device.open()
    await asyncio.sleep(0.1)
    await device.hang_up()
    before = len(target_of(verifier).calls)
    await asyncio.sleep(10)
    assert len(target_of(verifier).calls) <= before + 1
    await device.resume(verifier)
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]
    assert target_of(verifier).prefilled_rows < len(LONG_PROMPT) + 32  # what had been computed was not computed again


@in_virtual_time
async def test_asking_for_the_end_of_a_stream_that_has_ended_is_answered():
    device = Device(world(), contract())
    await device.open()
    device.stream(False)
    message = await device.receive()
    assert isinstance(message, Streamed) and message.last and message.tokens == ()


@in_virtual_time
async def test_a_draft_during_stream_mode_is_stale_and_the_stream_goes_on():
    device = Device(world(), contract())
    await device.open(stream=True)
    await device.receive()
    device.send(device.draft(device.true_tokens(2)))
    answers = [await device.receive() for _ in range(3)]
    stale = [answer for answer in answers if isinstance(answer, Verdict)]
    assert [answer.outcome for answer in stale] == [Outcome.STALE]
    await device.finish_streaming()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_drafting_and_streaming_sessions_share_forwards():
    verifier = world()
    streamer, drafter = Device(verifier, contract()), Device(verifier, contract(sampling=Sampling(temperature=1, seed=8)))
    await streamer.open(stream=True)
    await drafter.open()
    await asyncio.gather(streamer.finish_streaming(), drafter.finish_drafting())
    assert streamer.response == response(streamer.contract)[0] and drafter.response == response(drafter.contract)[0]
    shared = [blocks for blocks in target_of(verifier).calls if {block.wanted > 1 for block in blocks} == {True, False}]
    assert len(shared) >= 8


@in_virtual_time
async def test_more_sessions_than_slots_all_end_with_their_own_response():
    verifier = world(slots=2)
    devices = [Device(verifier, contract(prompt=(1, 2, seed), sampling=Sampling(temperature=1, seed=seed))) for seed in range(6)]
    for device in devices:
        await device.open()
    await asyncio.gather(*(device.finish_drafting() for device in devices))
    assert [device.response for device in devices] == [response(device.contract)[0] for device in devices]


@in_virtual_time
async def test_more_streams_than_slots_take_turns():
    verifier = world(slots=2)
    devices = [Device(verifier, contract(prompt=(1, 2, seed), max_new_tokens=100)) for seed in range(5)]
    for device in devices:
        await device.open(stream=True)
    await asyncio.gather(*(device.finish_streaming() for device in devices))
    assert [device.response for device in devices] == [response(device.contract)[0] for device in devices]
    assert target_of(verifier).prefilled_rows < 5 * 4 * 100  # each rebuilt a few times, not for every token


@in_virtual_time
async def test_an_evicted_session_is_rebuilt_in_the_forward_that_judges_its_draft():
    verifier = world(slots=1)
    first, second = Device(verifier, contract()), Device(verifier, contract(prompt=(9, 8, 7)))
    await first.open()
    await first.round_trip(first.true_tokens(4))
    await second.open()
    await second.round_trip(second.true_tokens(4))
    before = len(target_of(verifier).calls)
    await first.round_trip(first.true_tokens(4))
    assert len(target_of(verifier).calls) == before + 1
    await first.finish_drafting()
    assert first.response == response(first.contract)[0]


@in_virtual_time
async def test_a_prompt_that_a_finished_session_shared_is_not_computed_again():
    verifier = world()
    first = Device(verifier, contract(prompt=LONG_PROMPT))
    await first.open(stream=True)
    await first.finish_streaming()
    await first.hang_up()
    before = target_of(verifier).prefilled_rows
    follow_up = Device(verifier, contract(prompt=(*LONG_PROMPT, *first.response, 1, 2, 3)))
    await follow_up.open(stream=True)
    await follow_up.finish_streaming()
    assert follow_up.response == response(follow_up.contract)[0]
    assert target_of(verifier).prefilled_rows - before <= 4


@in_virtual_time
async def test_a_stop_token_ends_the_response_where_the_target_says_it():
    plain = response(contract())[0]
    agreed = contract(stop_tokens=(plain[9],))
    device = Device(world(), agreed)
    await device.open()
    await device.finish_drafting()
    assert (device.response, Finish.STOP_TOKEN) == response(agreed)
    assert await device.receive() is None


@in_virtual_time
async def test_a_full_context_ends_the_response():
    verifier = world(capacity=20)
    device = Device(verifier, contract())
    await device.open()
    await device.finish_drafting()
    assert len(device.response) == 17 and device.response == response(device.contract)[0][:17]


@in_virtual_time
async def test_several_drafts_in_flight_are_judged_in_order_and_the_wrong_ones_are_stale():
    device = Device(world(), contract())
    await device.open()
    true = device.true_tokens(10)
    first = device.draft(true[:3])
    ahead = device.committed.copy()
    ahead.append(true[:4])
    second = replace(device.draft(true[4:7]), position=len(ahead), digest=ahead.digest())
    third = device.draft(true[:3])
    for draft in (first, second, third):
        device.send(draft)
    verdicts = [await device.receive() for _ in range(3)]
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    assert [(verdict.outcome, verdict.accepted) for verdict in verdicts] == [(0, 3), (0, 3), (1, 0)]  # type: ignore[union-attr]  # just checked


@in_virtual_time
async def test_a_round_sent_twice_is_computed_once_and_answered_twice():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    draft = device.draft(device.true_tokens(3))
    device.send(draft)
    device.send(draft)
    first, second = await device.receive(), await device.receive()
    assert first == second and verifier.counts.replays == 1 and verifier.counts.rounds == 1
