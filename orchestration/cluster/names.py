"""What the parts of a cluster are called on Ray, where several programs meet by name."""

from __future__ import annotations

NAMESPACE = "airdraft"
DIRECTORY = "directory"


def verifier(index: int) -> str:
    """The actor of a replica."""
    return f"verifier-{index}"


def device(index: int) -> str:
    """The actor of a device."""
    return f"device-{index}"


def group(name: str) -> str:
    """The placement group of a replica's actors."""
    return f"airdraft-{name}"
