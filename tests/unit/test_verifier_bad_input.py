"""Whatever a device sends that it must not: the stated error, for its own stream only, while another session goes on to its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from airdraft import PROTOCOL_VERSION
from airdraft.errors import (
    CapacityError,
    ContractError,
    DraftTooLongError,
    ForgedSessionError,
    InternalError,
    MalformedMessageError,
    PromptTooLongError,
    ProtocolError,
    ProtocolVersionError,
    TokenizerMismatchError,
    TokenOutOfRangeError,
    UnknownRuleError,
    UnknownSessionError,
    WrongModelError,
)
from airdraft.messages import Open, QuantisedRow, Resume, RuleChoice
from cloud.verifier import Verifier
from tests.hash_target import VOCABULARY, contract, response
from tests.verifier_world import Device, target_of, world
from tests.virtual_time import in_virtual_time


async def bystander(verifier: Verifier) -> Device:
    """A session in the middle of its response."""
    device = Device(verifier, contract(prompt=(9, 8, 7)))
    await device.open()
    await device.round_trip(device.true_tokens(3))
    return device


async def goes_on(device: Device) -> None:
    await device.finish_drafting()
    assert device.response == response(device.contract)[0]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"protocol_version": PROTOCOL_VERSION + 1}, ProtocolVersionError),
        ({"tokenizer_digest": b"other"}, TokenizerMismatchError),
        ({"vocabulary_size": 7}, TokenizerMismatchError),
        ({"model": "other"}, WrongModelError),
        ({"rule": RuleChoice("other")}, UnknownRuleError),
        ({"rule": RuleChoice("exact", (("treshold", 1.0),))}, UnknownRuleError),
        ({"rule": RuleChoice("speculative_sampling", (("row_width", 0.5),))}, UnknownRuleError),
        ({"prompt": (1,) * 512}, PromptTooLongError),
        ({"prompt": (VOCABULARY,)}, TokenOutOfRangeError),
        ({"prompt": ()}, ContractError),
    ],
)
@in_virtual_time
async def test_a_contract_that_cannot_be_kept(changes, error):
    verifier = world()
    other = await bystander(verifier)
    device = Device(verifier, contract(**changes))
    device.send(Open(device.contract))
    assert type(await device.refusal()) is error
    assert verifier.describe().load.sessions == 1
    await goes_on(other)


@pytest.mark.parametrize(
    ("tokens", "error"),
    [((1,) * 17, DraftTooLongError), ((1, VOCABULARY), TokenOutOfRangeError), ((-1,), TokenOutOfRangeError)],
)
@in_virtual_time
async def test_a_draft_that_breaks_the_contract_ends_the_stream_but_not_the_session(tokens, error):
    verifier = world()
    other = await bystander(verifier)
    device = Device(verifier, contract())
    await device.open()
    device.send(device.draft(tokens))
    assert type(await device.refusal()) is error
    await device.resume(verifier)
    await goes_on(device)
    await goes_on(other)


@pytest.mark.parametrize(
    "rows", [(), (QuantisedRow((5,), (4096,)),), (QuantisedRow((4, 5), (4096, 1)),), (QuantisedRow(tuple(range(20)), (1,) * 19 + (4077,)),)]
)
@in_virtual_time
async def test_rows_that_are_missing_or_unsound(rows):
    verifier = world()
    other = await bystander(verifier)
    device = Device(verifier, contract(rule=RuleChoice("speculative_sampling")))
    await device.open()
    device.send(device.draft((4,), rows))
    assert type(await device.refusal()) is MalformedMessageError
    await goes_on(other)


@in_virtual_time
async def test_sessions_that_do_not_exist_or_belong_to_others():
    verifier = world()
    other = await bystander(verifier)
    assert other.opened is not None
    for session_id, error in (("nobody", UnknownSessionError), (other.opened.session_id, ForgedSessionError)):
        device = Device(verifier, contract())
        device.send(Resume(session_id, bytes(16), 1, 3, 0))
        assert type(await device.refusal()) is error
    await goes_on(other)


@in_virtual_time
async def test_resuming_with_a_text_that_is_not_the_committed_one_leaves_the_running_stream_alone():
    verifier = world()
    other = await bystander(verifier)
    assert other.opened is not None
    thief = Device(verifier, other.contract)
    thief.send(Resume(other.opened.session_id, other.opened.resume_token, 1, len(other.committed), 12345))
    assert isinstance(await thief.refusal(), ProtocolError)
    await goes_on(other)


@in_virtual_time
async def test_messages_out_of_place():
    verifier = world()
    other = await bystander(verifier)
    lost = Device(verifier, contract())
    lost.send(lost.draft((1,)))
    assert type(await lost.refusal()) is MalformedMessageError
    twice = Device(verifier, contract())
    await twice.open()
    twice.send(Open(twice.contract))
    assert type(await twice.refusal()) is MalformedMessageError
    await goes_on(other)


@in_virtual_time
async def test_bytes_that_are_no_message():
    verifier = world()
    other = await bystander(verifier)
    device = Device(verifier, contract())
    await device.open()
    device.send(MalformedMessageError("not a message"))
    assert type(await device.refusal()) is MalformedMessageError
    await device.resume(verifier)
    await goes_on(device)
    await goes_on(other)


@in_virtual_time
async def test_committed_tokens_past_the_responses_end():
    verifier = world()
    device = Device(verifier, contract(max_new_tokens=2))
    device.send(Open(device.contract, committed=(1, 2, 3)))
    assert type(await device.refusal()) is MalformedMessageError
    assert verifier.describe().load.sessions == 0


@in_virtual_time
async def test_a_full_verifier_names_a_time_and_takes_the_next_one_after_it():
    verifier = world(sessions=2, protected_s=10)
    other, leaving = await bystander(verifier), await bystander(verifier)
    device = Device(verifier, contract())
    device.send(Open(device.contract))
    refusal = await device.refusal()
    assert type(refusal) is CapacityError and refusal.retry_after_s
    await leaving.hang_up()
    device.connect(verifier)
    device.send(Open(device.contract))
    refusal = await device.refusal()
    assert refusal.retry_after_s == pytest.approx(10)
    await asyncio.sleep(refusal.retry_after_s)
    device.connect(verifier)
    await device.open()
    await goes_on(device)
    await goes_on(other)


@in_virtual_time
async def test_a_full_queue_ends_a_stream_that_can_resume_later():
    verifier = world(queue_rows=64)
    other = Device(verifier, contract(prompt=(1,) * 300))
    await other.open()
    await asyncio.sleep(0.001)
    device = Device(verifier, contract())
    await device.open()
    device.send(device.draft(()))
    refusal = await device.refusal()
    assert type(refusal) is CapacityError and refusal.retry_after_s
    await asyncio.sleep(5)
    await device.resume(verifier)
    await goes_on(device)
    await goes_on(other)


@in_virtual_time
async def test_a_block_that_breaks_the_forward_ends_its_own_stream_only():
    verifier = world()
    device, other = Device(verifier, contract()), await bystander(verifier)
    await device.open()
    await asyncio.sleep(1)
    target_of(verifier).poison = poison = next(token for token in range(VOCABULARY) if token not in response(other.contract)[0][:8])
    device.send(device.draft((poison,)))
    other.send(other.draft(true := other.true_tokens(3)))
    assert type(await device.refusal()) is InternalError
    await other.receive()
    assert not set(true) & {poison}
    target_of(verifier).poison = None
    await other.hang_up()
    missed = await other.resume(verifier, committed_length=len(other.committed))
    assert len(missed.tokens) == 4
    await goes_on(other)
    await device.resume(verifier)
    await goes_on(device)


@in_virtual_time
async def test_a_flood_of_stale_drafts_is_answered_one_by_one():
    verifier = world()
    other = await bystander(verifier)
    device = Device(verifier, contract())
    await device.open()
    for _ in range(300):
        device.send(replace(device.draft((1,)), digest=1))
    for _ in range(300):
        await device.receive()
    assert verifier.counts.stale == 300
    await goes_on(device)
    await goes_on(other)
