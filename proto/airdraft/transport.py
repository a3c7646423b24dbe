"""The seam to the link: a transport opens streams to one verifier; a stream sends and receives messages in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from airdraft.messages import Description, DeviceMessage, VerifierMessage


@dataclass(slots=True)
class Traffic:
    """Encoded messages that crossed, at the message level; framing is counted apart, where a transport can see it."""

    bytes_up: int = 0
    bytes_down: int = 0
    messages_up: int = 0
    messages_down: int = 0


class MessageStream(Protocol):
    """One bidirectional stream. Every failure is an AirdraftError; after one, the stream is of no further use."""

    traffic: Traffic

    async def send(self, message: DeviceMessage) -> None:
        """Send, in order."""
        ...

    async def receive(self) -> VerifierMessage | None:
        """The next message; None once the verifier has ended the stream in good order."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class Transport(Protocol):
    """A way to one verifier."""

    async def open(self) -> MessageStream:
        """One attempt to open a stream."""
        ...

    async def describe(self) -> Description:
        """What the verifier says of itself."""
        ...

    async def close(self) -> None:
        """Give up every stream and the connection."""
        ...
