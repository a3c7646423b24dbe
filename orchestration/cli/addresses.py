"""Addresses as users write them: HOST:PORT."""

from __future__ import annotations

from airdraft.errors import SettingsError
from orchestration.link.proxy import Address


def parse_address(text: str, option: str, *, lowest_port: int = 0) -> Address:
    """`127.0.0.1:50051`, `[::1]:50051` or `:50051` (this machine alone). Raises SettingsError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not lowest_port <= int(port) <= 65535 or "/" in host:
        raise SettingsError(f"{option} {text!r} cannot be used; expected HOST:PORT with a port from {lowest_port} to 65535.")
    return Address(host.strip("[]") or "127.0.0.1", int(port))


def written(address: Address) -> str:
    """The address in the form that `parse_address` takes."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
