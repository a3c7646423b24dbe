"""What the codec keeps, what it rounds, and what it refuses in words."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from airdraft.errors import MalformedMessageError
from airdraft.messages import ChannelState, Open, QuantisedRow, Resume, Timings
from airdraft.wire import bounds
from airdraft.wire.codec import decode_description, decode_device, decode_verifier, encode_description, encode_device, encode_verifier
from airdraft.wire.v1 import airdraft_pb2 as pb
from tests.wire_examples import CHANNEL, CONTRACT, DESCRIPTION, DEVICE_MESSAGES, DRAFT, RESUME_TOKEN, VERDICT, VERIFIER_MESSAGES


def named(messages):
    return [pytest.param(message, id=type(message).__name__) for message in messages]


@pytest.mark.parametrize("message", named(DEVICE_MESSAGES))
def test_every_device_message_survives_the_wire(message):
    assert decode_device(encode_device(message)) == message


@pytest.mark.parametrize("message", named(VERIFIER_MESSAGES))
def test_every_verifier_message_survives_the_wire(message):
    assert decode_verifier(encode_verifier(message)) == message


def test_a_description_survives_the_wire():
    assert decode_description(encode_description(DESCRIPTION)) == DESCRIPTION


def test_zero_is_told_from_not_known():
    for channel in (ChannelState(0.0, 0.0, 0.0, 0.0), ChannelState(), None):
        assert decode_device(encode_device(replace(DRAFT, channel=channel))) == replace(DRAFT, channel=channel)
    for token in (0, None):
        assert decode_verifier(encode_verifier(replace(VERDICT, token=token))) == replace(VERDICT, token=token)


def test_a_channel_is_rounded_to_its_stated_steps():
    measured = ChannelState(snr_db=3.14, uplink_bps=1_234_567.0, downlink_bps=99.0, round_trip_s=0.012_345)
    assert decode_device(encode_device(replace(DRAFT, channel=measured))).channel == ChannelState(3.25, 1_235_000.0, 0.0, 0.0123)


def test_a_channel_out_of_range_is_clamped_and_what_is_not_finite_is_not_known():
    wild = ChannelState(snr_db=-9e9, uplink_bps=math.inf, downlink_bps=-5.0, round_trip_s=math.nan)
    assert decode_device(encode_device(replace(DRAFT, channel=wild))).channel == ChannelState(-250.0, None, 0.0, None)


def test_timings_are_rounded_to_microseconds():
    verdict = replace(VERDICT, timings=Timings(0.000_000_4, 0.123_456_7, 1e9, 3))
    assert decode_verifier(encode_verifier(verdict)).timings == Timings(0.0, 0.123_457, (2**32 - 1) / 1e6, 3)


def device_bytes(**fields) -> bytes:
    return pb.DeviceEnvelope(**fields).SerializeToString()


def raw_open(**changes) -> bytes:
    envelope = pb.DeviceEnvelope.FromString(encode_device(Open(CONTRACT)))
    for path, value in changes.items():
        *parents, name = path.split("__")
        target = envelope.open.contract
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, name, value)
    return envelope.SerializeToString()


def raw_row(token_steps, weights) -> bytes:
    return device_bytes(draft=pb.Draft(tokens=[1], rows=[pb.QuantisedRow(token_steps=token_steps, weights=weights)]))


REFUSED = {
    "no bytes at all": (b"", "no message"),
    "bytes that are no message": (b"\xff\xff\xff", "3 bytes are no DeviceEnvelope"),
    "a truncated message": (encode_device(DRAFT)[:-1], "one whole protobuf message"),
    "a message of a later version": (b"\x2a\x00", "no message that this version"),
    "no contract": (device_bytes(open=pb.Open(epoch=1)), "carries no contract"),
    "a temperature below zero": (raw_open(sampling__temperature=-1.0), "temperature"),
    "a temperature that is no number": (raw_open(sampling__temperature=math.nan), "temperature"),
    "top_p of zero": (raw_open(sampling__top_p=0.0), "top_p"),
    "top_k out of range": (raw_open(sampling__top_k=2**31), "top_k"),
    "a nameless rule": (raw_open(rule__name=""), "rule's name is empty"),
    "an over-long name": (raw_open(model="m" * 257), "257 given, at most 256"),
    "an over-long digest": (raw_open(tokenizer_digest=b"x" * 65), "at most 64"),
    "an infinite parameter": (
        device_bytes(open=pb.Open(contract=pb.Contract(rule=pb.Rule(name="r", parameters=[pb.Parameter(name="p", value=math.inf)])))),
        "finite",
    ),
    "an over-long prompt": (device_bytes(open=pb.Open(contract=pb.Contract(prompt=[1] * (2**20 + 1)))), "at most 1048576"),
    "an over-long committed text": (
        device_bytes(open=pb.Open(contract=pb.Contract(rule=pb.Rule(name="r")), committed=[1] * (2**20 + 1))),
        "committed text",
    ),
    "a token id that no vocabulary has": (device_bytes(draft=pb.Draft(tokens=[2**31])), "2147483648"),
    "an over-long draft": (device_bytes(draft=pb.Draft(tokens=[1] * 4097)), "4097 given, at most 4096"),
    "fewer rows than tokens": (device_bytes(draft=pb.Draft(tokens=[1, 2], rows=[pb.QuantisedRow()])), "2 tokens and 1 rows"),
    "rows without tokens": (device_bytes(draft=pb.Draft(rows=[pb.QuantisedRow()])), "0 tokens and 1 rows"),
    "a row of unequal halves": (raw_row([1, 2], [1]), "as many of each"),
    "an empty row": (raw_row([], []), "empty"),
    "a weight of zero": (raw_row([1], [0]), "at least 1"),
    "a token twice in a row": (raw_row([1, 0], [1, 1]), "twice"),
    "a token id that no row has": (raw_row([2**31], [1]), "2147483648"),
    "an over-long row": (raw_row([1] * 4097, [1] * 4097), "at most 4096"),
    "an impossible signal": (device_bytes(draft=pb.Draft(channel=pb.ChannelState(snr_quarter_db=-1001))), "within ±250 dB"),
    "a short resume token": (device_bytes(resume=pb.Resume(session_id="s", resume_token=b"x")), "1 bytes, 16 expected"),
    "a nameless session": (device_bytes(resume=pb.Resume(resume_token=RESUME_TOKEN)), "session id is empty"),
}


@pytest.mark.parametrize("data, words", REFUSED.values(), ids=REFUSED)
def test_it_refuses_in_words(data, words):
    with pytest.raises(MalformedMessageError) as refusal:
        decode_device(data)
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "wire, words",
    [
        (pb.VerifierEnvelope(), "Opened, Verdict or Streamed"),
        (pb.VerifierEnvelope(verdict=pb.Verdict(outcome=7)), "Outcome 7 is not known"),
        (pb.VerifierEnvelope(verdict=pb.Verdict(finish=9)), "Finish 9 is not known"),
        (pb.VerifierEnvelope(verdict=pb.Verdict(accepted=4097)), "at most 4096"),
        (pb.VerifierEnvelope(opened=pb.Opened(session_id="s")), "0 bytes, 16 expected"),
        (pb.VerifierEnvelope(streamed=pb.Streamed(tokens=[2**32 - 1])), "4294967295"),
    ],
)
def test_it_refuses_a_verifier_in_words_too(wire, words):
    with pytest.raises(MalformedMessageError, match=words):
        decode_verifier(wire.SerializeToString())


def test_it_refuses_a_description_with_too_many_rules():
    with pytest.raises(MalformedMessageError, match="at most 256"):
        decode_description(pb.Description(rules=["r"] * 257).SerializeToString())


@pytest.mark.parametrize(
    "message",
    [
        replace(DRAFT, round=-1),
        replace(DRAFT, tokens=(2**32,)),
        replace(DRAFT, digest=2**64),
        replace(DRAFT, tokens=("one",)),
        replace(DRAFT, rows=(QuantisedRow((2**40,), (4096,)),)),
        replace(DRAFT, rows=(QuantisedRow((7, 5), (4095, 1)),)),
        Resume("s\ud800", RESUME_TOKEN, 1, 0, 0),
    ],
    ids=["negative", "token", "digest", "type", "row", "order", "text"],
)
def test_what_no_field_can_hold_cannot_be_sent(message):
    with pytest.raises(MalformedMessageError, match=f"{type(message).__name__} cannot be sent"):
        encode_device(message)


def test_the_largest_texts_fit_into_the_largest_message():
    text = (151_935,) * bounds.MAX_TEXT_TOKENS
    message = Open(replace(CONTRACT, prompt=text), committed=text)
    assert len(encode_device(message)) <= bounds.MAX_MESSAGE_BYTES
    assert decode_device(encode_device(message)) == message


def test_rows_keep_which_weight_is_whose():
    row = QuantisedRow((0, 3, 9, 151_935), (90, 1, 4000, 5))
    draft = replace(DRAFT, tokens=(9,), rows=(row,), channel=CHANNEL)
    assert decode_device(encode_device(draft)).rows == (row,)
