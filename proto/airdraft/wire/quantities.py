"""Measured quantities as the small integers that cross the link, and back. What was read once is written again as the same bytes."""

from __future__ import annotations

import math

from airdraft.errors import MalformedMessageError
from airdraft.messages import ChannelState, Timings
from airdraft.wire.v1 import airdraft_pb2 as pb

LARGEST = (1 << 32) - 1  # what a field of 32 bits holds; anything larger is written as this
SNR_LIMIT_QUARTER_DB = 1000  # ±250 dB, beyond any radio
STEPS_PER_DB = 4
BITS_PER_KILOBIT = 1000
TENTHS_OF_MS_PER_S = 10_000
US_PER_S = 1_000_000


def write_channel(channel: ChannelState) -> pb.ChannelState:
    """Rounded to 0.25 dB, 1 kbit/s and 0.1 ms. What is None, or not a finite number, is left out as not known."""
    snr_quarter_db = None
    if channel.snr_db is not None and math.isfinite(channel.snr_db):
        snr_quarter_db = round(max(-SNR_LIMIT_QUARTER_DB, min(SNR_LIMIT_QUARTER_DB, channel.snr_db * STEPS_PER_DB)))
    return pb.ChannelState(
        snr_quarter_db=snr_quarter_db,
        uplink_kbps=_steps(channel.uplink_bps, 1 / BITS_PER_KILOBIT),
        downlink_kbps=_steps(channel.downlink_bps, 1 / BITS_PER_KILOBIT),
        round_trip_tenth_ms=_steps(channel.round_trip_s, TENTHS_OF_MS_PER_S),
    )


def read_channel(wire: pb.ChannelState) -> ChannelState:
    """Raises MalformedMessageError for a signal to noise ratio that no radio has."""
    if abs(wire.snr_quarter_db) > SNR_LIMIT_QUARTER_DB:
        limit = SNR_LIMIT_QUARTER_DB // STEPS_PER_DB
        raise MalformedMessageError(f"signal to noise ratio of {wire.snr_quarter_db / STEPS_PER_DB} dB; expected within ±{limit} dB")
    return ChannelState(
        snr_db=wire.snr_quarter_db / STEPS_PER_DB if wire.HasField("snr_quarter_db") else None,
        uplink_bps=float(wire.uplink_kbps * BITS_PER_KILOBIT) if wire.HasField("uplink_kbps") else None,
        downlink_bps=float(wire.downlink_kbps * BITS_PER_KILOBIT) if wire.HasField("downlink_kbps") else None,
        round_trip_s=wire.round_trip_tenth_ms / TENTHS_OF_MS_PER_S if wire.HasField("round_trip_tenth_ms") else None,
    )


def write_timings(timings: Timings, wire: pb.Verdict | pb.Streamed) -> None:
    """Rounded to microseconds, into the answer itself."""
    wire.queue_us = _whole(timings.queue_s * US_PER_S)
    wire.forward_us = _whole(timings.forward_s * US_PER_S)
    wire.share_us = _whole(timings.share_s * US_PER_S)
    wire.batch = timings.batch


def read_timings(wire: pb.Verdict | pb.Streamed) -> Timings:
    """Undo `write_timings`."""
    return Timings(wire.queue_us / US_PER_S, wire.forward_us / US_PER_S, wire.share_us / US_PER_S, wire.batch)


def _steps(value: float | None, steps_per_unit: float) -> int | None:
    return None if value is None or not math.isfinite(value) else _whole(value * steps_per_unit)


def _whole(value: float) -> int:
    return round(max(0, min(LARGEST, value)))
