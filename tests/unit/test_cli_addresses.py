import pytest

from airdraft.errors import SettingsError
from orchestration.cli.addresses import parse_address, written


@pytest.mark.parametrize("text", ["127.0.0.1:50051", "[::1]:80", "host.example:1"])
def test_addresses_are_written_as_they_are_read(text: str) -> None:
    assert written(parse_address(text, "--listen")) == text


def test_without_a_host_it_is_this_machine_alone() -> None:
    assert written(parse_address(":9", "--listen")) == "127.0.0.1:9"


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "host:65536", "http://host:1", "host:-1"])
def test_anything_else_is_refused_by_the_option_s_name(text: str) -> None:
    with pytest.raises(SettingsError, match="--to"):
        parse_address(text, "--to", lowest_port=1)


def test_port_zero_is_for_listening_only() -> None:
    assert parse_address("h:0", "--listen").port == 0
    with pytest.raises(SettingsError):
        parse_address("h:0", "--to", lowest_port=1)
