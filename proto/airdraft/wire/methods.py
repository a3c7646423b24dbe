"""What both ends of a gRPC call must spell alike: method names and metadata keys."""

from __future__ import annotations

from airdraft.wire.v1 import airdraft_pb2 as pb

_SERVICE = pb.DESCRIPTOR.services_by_name["Verification"]

SERVICE = _SERVICE.full_name
CONVERSE = "Converse"
DESCRIBE = "Describe"
PROTOCOL_KEY = "airdraft-protocol"  # sent with each call: the protocol version that the device speaks


def path(method: str) -> str:
    """The method as a gRPC path: /service/method."""
    return f"/{SERVICE}/{_SERVICE.methods_by_name[method].name}"
