"""A Ray that is not there is told in words, and soon."""

from __future__ import annotations

import socket

import pytest

from airdraft.errors import UnavailableError
from orchestration.cluster import ray_connection

pytest.importorskip("ray", reason="the cluster extra is not installed")


def test_nobody_at_the_address_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: whoever connects is refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(UnavailableError, match=rf"no Ray cluster can be reached at '{address}'.*ray start --head"),
            ray_connection.connected(address),
        ):
            pass


@pytest.mark.parametrize("address", [None, "auto", "ray://head:10001"])
def test_other_forms_are_left_to_ray(address):
    ray_connection._require_listener(address)
