from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from airdraft import quantised_row
from airdraft.clock import WallClock
from airdraft.errors import DeadlineError, DrainingError, InternalError, MalformedMessageError, SupersededError, UnknownSessionError
from airdraft.messages import Finish, Open, Opened, Outcome, RuleChoice, Streamed, Verdict
from airdraft.settings import Sampling
from cloud.conversation import OUTBOX
from cloud.settings import VerifierSettings
from cloud.verifier import Verifier
from tests.hash_target import MODEL, TOKENIZER_DIGEST, VOCABULARY, HashTarget, contract, response
from tests.verifier_world import Device, target_of, world
from tests.virtual_time import in_virtual_time

LONG_PROMPT = tuple(index % VOCABULARY for index in range(200))


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


@in_virtual_time
async def test_a_session_resumes_after_a_cut_at_any_moment():
    verifier = world()
    agreed = contract(prompt=LONG_PROMPT, max_new_tokens=60)
    device = Device(verifier, agreed)
    await device.open()
    cuts = 0
    while not device.finished:
        device.send(device.draft(device.true_tokens(3)))
        answer = asyncio.ensure_future(anext(device.answers))
        await asyncio.sleep(0.011 * (cuts % 9))
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        await device.hang_up()
        await device.resume(verifier)
        cuts += 1
        if not device.finished and cuts % 3 == 0:
            await device.round_trip(device.true_tokens(2))
    assert device.response == response(agreed)[0] and device.epoch == cuts + 1 and cuts > 5
    assert await device.receive() is None


@in_virtual_time
async def test_resuming_in_stream_mode_goes_on_streaming():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    await device.hang_up()
    await device.resume(verifier, stream=True)
    await device.finish_streaming()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_resuming_ends_the_older_stream_and_takes_over_what_it_had_in_hand():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    older = device.answers
    device.send(device.draft(device.true_tokens(3)))
    answer = asyncio.ensure_future(anext(older))
    await asyncio.sleep(0.001)
    await device.resume(verifier)
    with pytest.raises(SupersededError):
        await answer
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_a_session_returns_within_its_lease_and_not_after_it():
    verifier = world(lease_s=100)
    device = Device(verifier, contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    await device.hang_up()
    await asyncio.sleep(99)
    await device.resume(verifier)
    await device.hang_up()
    await asyncio.sleep(101)
    device.connect(verifier)
    with pytest.raises(UnknownSessionError):
        await device.resume(verifier)


@in_virtual_time
async def test_a_session_re_opens_at_another_verifier_with_what_is_committed():
    device = Device(world(), contract())
    await device.open()
    await device.round_trip(device.true_tokens(2))
    device.connect(world())
    opened = await device.open(committed=device.response, epoch=2)
    assert (opened.epoch, opened.committed_length) == (2, len(device.committed))
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_a_finished_session_can_be_asked_for_its_end():
    verifier = world()
    device = Device(verifier, contract())
    await device.open(stream=True)
    known = device.committed.copy()
    await device.finish_streaming()
    whole, device.committed = device.response, known
    opened = await device.resume(verifier)
    assert opened.tokens == whole and opened.finish is Finish.LENGTH
    assert await device.receive() is None


@in_virtual_time
async def test_speculative_sampling_runs_over_the_same_protocol():
    device = Device(world(), contract(rule=RuleChoice("speculative_sampling")))
    await device.open()
    while not device.finished:
        tokens = device.true_tokens(2)
        device.send(device.draft(tokens, [quantised_row.certain(token) for token in tokens]))
        verdict = await device.receive()
        assert isinstance(verdict, Verdict)
        device.committed.append((*tokens[: verdict.accepted], *(() if verdict.token is None else (verdict.token,))))
        assert device.committed.digest() == verdict.digest
    assert len(device.response) == 40


@in_virtual_time
async def test_a_silent_device_ends_its_stream_and_can_resume():
    verifier = world(idle_s=30)
    device = Device(verifier, contract())
    await device.open()
    assert isinstance(await device.refusal(), DeadlineError)
    assert asyncio.get_running_loop().time() == pytest.approx(30)
    await device.resume(verifier)
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_a_device_that_takes_no_answers_keeps_no_slot_and_ends():
    verifier = world(slots=1, idle_s=30)
    deaf = Device(verifier, contract(max_new_tokens=200))
    await deaf.open(stream=True)
    await asyncio.sleep(5)
    assert len(target_of(verifier).calls) <= OUTBOX + 1
    other = Device(verifier, contract(prompt=(4, 5)))
    await other.open(stream=True)
    await other.finish_streaming()
    assert asyncio.get_running_loop().time() < 10
    assert isinstance(await slow_end(deaf), DeadlineError)


async def slow_end(device: Device):
    await asyncio.sleep(40)
    return await device.refusal()


@in_virtual_time
async def test_a_device_that_has_no_more_to_say_gets_its_stream_to_the_end():
    device = Device(world(), contract())
    await device.open(stream=True)
    device.send(None)
    await device.finish_streaming()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_hanging_up_while_drafting_ends_in_good_order_and_keeps_the_session():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    device.send(None)
    assert await device.receive() is None
    await device.resume(verifier)


@in_virtual_time
async def test_draining_lets_streams_end_and_admits_nobody():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    verifier.drain()
    newcomer = Device(verifier, contract())
    newcomer.send(Open(newcomer.contract))
    assert isinstance(await newcomer.refusal(), DrainingError) and verifier.describe().load.draining
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@in_virtual_time
async def test_closing_ends_every_stream_in_words():
    verifier = world()
    devices = [Device(verifier, contract()) for _ in range(3)]
    for device in devices:
        await device.open()
    devices[0].send(devices[0].draft(devices[0].true_tokens(3)))
    await asyncio.sleep(0.001)
    await verifier.close()
    assert all([isinstance(await device.refusal(), DrainingError) for device in devices])
    await verifier.close()


@in_virtual_time
async def test_nothing_is_left_behind_by_streams_that_ended():
    verifier = world(finished_lease_s=10)
    for stream in (True, False, True):
        device = Device(verifier, contract())
        await device.open(stream=stream)
        await (device.finish_streaming() if stream else device.finish_drafting())
        await device.hang_up()
    await asyncio.sleep(11)
    assert verifier.describe().load.sessions == 0 and not verifier.sessions._sessions and not verifier._streams
    assert all(slot.owner is None and not slot.pinned for slot in verifier.slots.view())
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_it_describes_what_it_serves_and_how_busy_it_is():
    verifier = world(context=100, sessions=7, max_draft=5)
    device = Device(verifier, contract())
    await device.open()
    description = verifier.describe()
    assert (description.context_limit, description.draft_limit, description.vocabulary_size) == (100, 5, VOCABULARY)
    assert "exact" in description.rules and (description.load.sessions, description.load.session_limit) == (1, 7)


async def test_it_works_in_real_time_on_a_thread_of_its_own():
    clock = WallClock()
    verifier = Verifier(HashTarget(), MODEL, TOKENIZER_DIGEST, clock, VerifierSettings())
    devices = [Device(verifier, contract(prompt=(1, 2, seed))) for seed in range(6)]
    for number, device in enumerate(devices):
        await device.open(stream=number % 2 == 0)
    await asyncio.gather(*(device.finish_drafting() if number % 2 else device.finish_streaming() for number, device in enumerate(devices)))
    assert [device.response for device in devices] == [response(device.contract)[0] for device in devices]
    await verifier.close()
    clock.close()


@in_virtual_time
async def test_counts_add_up():
    verifier = world()
    device = Device(verifier, contract())
    await device.open()
    await device.finish_drafting(length=4, wrong_at=2)
    counts = verifier.counts
    assert (counts.emitted, counts.rounds, counts.accepted, counts.drafted) == (40, 14, 27, 56)  # 13 × (2 + 1), then 1 to the limit
    assert (counts.opened, counts.finished, counts.stale, counts.replays, counts.streamed) == (1, 1, 0, 0, 0)


@pytest.mark.parametrize("broken", [MalformedMessageError("not a message"), RuntimeError("wire cut")])
@in_virtual_time
async def test_what_breaks_the_reading_ends_the_stream_also_while_it_streams(broken):
    verifier = world()
    device = Device(verifier, contract())
    await device.open(stream=True)
    device.send(broken)
    error = await device.refusal()
    assert type(error).__name__ in ("MalformedMessageError", "UnavailableError")
    assert verifier.counts.errors[error.code] == 1


@in_virtual_time
async def test_a_fault_inside_is_an_internal_error_of_one_stream():
    verifier = world()
    device, other = Device(verifier, contract()), Device(verifier, contract())
    await device.open()
    await other.open()
    verifier._parts.sessions._sessions[device.opened.session_id].rule = None  # type: ignore[assignment,union-attr]  # the planted fault
    device.send(device.draft(()))
    assert isinstance(await device.refusal(), InternalError)
    await other.finish_drafting()
    assert other.response == response(other.contract)[0]
