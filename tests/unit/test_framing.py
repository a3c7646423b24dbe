"""Bytes on the wire, worked out by hand from the standards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.simulation.framing import BARE, Framing


def test_a_small_message_takes_one_frame_one_record_one_packet() -> None:
    assert Framing().overhead(40) == 5 + 9 + 22 + 52


def test_the_end_of_a_stream_has_no_grpc_prefix() -> None:
    assert Framing().overhead(0) == 9 + 22 + 52


def test_a_proxy_between_plain_sockets_sees_frames_alone() -> None:
    assert BARE.overhead(40) == 14


@pytest.mark.parametrize(("size", "packets"), [(1448 - 36, 1), (1448 - 35, 2), (10_000, 7)])
def test_every_packet_has_its_headers(size: int, packets: int) -> None:
    assert Framing().overhead(size) == 36 + 52 * packets


def test_a_long_message_is_cut_into_frames_and_records() -> None:
    size = 40_000
    assert Framing(header_bytes=0).overhead(size) == 5 + 9 * 3 + 22 * 3


@given(st.integers(0, 200_000), st.integers(0, 1000))
def test_more_bytes_never_take_less(size: int, more: int) -> None:
    framing = Framing()
    assert size + more + framing.overhead(size + more) >= size + framing.overhead(size)
