"""Bytes are a feature: what one message may cost, at the worst realistic values."""

from __future__ import annotations

import pytest

from airdraft.messages import ChannelState, Draft, Finish, Outcome, QuantisedRow, Streamed, Timings, Verdict
from airdraft.wire.codec import encode_device, encode_verifier

DIGEST = (1 << 64) - 1
ROUND = 16_383
EPOCH = 127
POSITION = 1_000_000
TOKEN = 151_935  # three bytes, as every id of a vocabulary between 16,384 and 2,097,152
CHANNEL = ChannelState(snr_db=-30.25, uplink_bps=2e9, downlink_bps=2e9, round_trip_s=10.0)
SLOW = Timings(queue_s=60.0, forward_s=60.0, share_s=60.0, batch=64)


def test_an_exact_draft_of_eight_tokens_takes_at_most_64_bytes():
    assert len(encode_device(Draft(EPOCH, ROUND, POSITION, DIGEST, (TOKEN,) * 8, CHANNEL))) <= 64


@pytest.mark.parametrize("finish", Finish)
def test_a_verdict_takes_at_most_48_bytes(finish):
    verdict = Verdict(EPOCH, ROUND, Outcome.JUDGED, 8, TOKEN, POSITION, DIGEST, 64, finish, SLOW)
    assert len(encode_verifier(verdict)) <= 48


def test_a_stale_verdict_takes_at_most_48_bytes():
    assert len(encode_verifier(Verdict(EPOCH, ROUND, Outcome.STALE, 0, None, POSITION, DIGEST, 64, Finish.NO, SLOW))) <= 48


def test_a_streamed_token_takes_at_most_48_bytes():
    streamed = Streamed(EPOCH, POSITION, (TOKEN,), POSITION + 1, DIGEST, 64, False, Finish.NO, SLOW)
    assert len(encode_verifier(streamed)) <= 48


def test_an_unknown_channel_costs_nothing():
    draft = Draft(EPOCH, ROUND, POSITION, DIGEST, (TOKEN,) * 8)
    assert len(encode_device(draft)) <= 48
    assert len(encode_device(Draft(EPOCH, ROUND, POSITION, DIGEST, (TOKEN,) * 8, ChannelState()))) == len(encode_device(draft)) + 2


def test_a_row_of_sixteen_ascending_entries_takes_at_most_80_bytes():
    row = QuantisedRow(tuple(range(0, 16 * 9_000, 9_000)), (256,) * 16)
    without = len(encode_device(Draft(EPOCH, ROUND, POSITION, DIGEST, (TOKEN,))))
    assert len(encode_device(Draft(EPOCH, ROUND, POSITION, DIGEST, (TOKEN,), rows=(row,)))) - without <= 80
