"""The codec under messages of every kind, and under bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airdraft.errors import MalformedMessageError
from airdraft.messages import ChannelState, Draft
from airdraft.wire.codec import decode_description, decode_device, decode_verifier, encode_description, encode_device, encode_verifier
from tests.wire_examples import descriptions, device_messages, verifier_messages

DECODERS = (decode_device, decode_verifier, decode_description)
frames = st.one_of(device_messages.map(encode_device), verifier_messages.map(encode_verifier), descriptions.map(encode_description))
unrounded = st.none() | st.floats()


def decodes_or_refuses(data: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(data)
        except MalformedMessageError as refusal:
            assert str(refusal)


@given(device_messages)
def test_device_messages_come_back_as_they_were(message):
    assert decode_device(encode_device(message)) == message


@given(verifier_messages)
def test_verifier_messages_come_back_as_they_were(message):
    assert decode_verifier(encode_verifier(message)) == message


@given(descriptions)
def test_descriptions_come_back_as_they_were(description):
    assert decode_description(encode_description(description)) == description


@given(st.builds(ChannelState, unrounded, unrounded, unrounded, unrounded))
def test_what_was_read_is_written_as_the_same_bytes(channel):
    data = encode_device(Draft(1, 1, 1, 1, (1,), channel))
    assert encode_device(decode_device(data)) == data


@given(st.binary(max_size=200))
def test_random_bytes_are_decoded_or_refused(data):
    decodes_or_refuses(data)


@given(frames, st.data())
def test_truncated_frames_are_decoded_or_refused(frame, data):
    decodes_or_refuses(frame[: data.draw(st.integers(0, len(frame)))])


@given(frames, st.data())
def test_frames_with_flipped_bits_are_decoded_or_refused(frame, data):
    bits = data.draw(st.lists(st.integers(0, max(0, 8 * len(frame) - 1)), min_size=1, max_size=5))
    broken = bytearray(frame)
    for bit in bits if frame else ():
        broken[bit // 8] ^= 1 << bit % 8
    decodes_or_refuses(bytes(broken))


@given(frames, frames)
def test_frames_run_together_are_decoded_or_refused(one, other):
    decodes_or_refuses(one + other)


@pytest.mark.parametrize("decode", DECODERS)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5), st.binary(max_size=20)), max_size=6))
def test_fields_of_the_wrong_kind_are_decoded_or_refused(decode, fields):
    data = b"".join(bytes((number % 16 << 3 | kind,)) + bytes((len(payload),)) + payload for number, kind, payload in fields)
    try:
        decode(data)
    except MalformedMessageError as refusal:
        assert str(refusal)
