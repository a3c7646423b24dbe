"""A verifier that knows the others: its description names them all, and its refusals name those that may have room. It decides nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from airdraft.errors import AirdraftError, CapacityError, DrainingError
from airdraft.messages import Description, DeviceMessage, VerifierMessage


class Verification(Protocol):
    """What is wrapped: see `cloud.service.Verification`, whose answers can be closed as well."""

    def converse(self, incoming: AsyncIterator[DeviceMessage]) -> AsyncGenerator[VerifierMessage, None]:
        """The answers to one stream's messages."""
        ...

    def describe(self) -> Description:
        """What it serves and how busy it is."""
        ...

    def drain(self) -> None:
        """Take nobody new."""
        ...


class AmongPeers:
    """A `Verification` around another one. `address` is its own; `peers` are all that serve, the least loaded first."""

    def __init__(self, verification: Verification) -> None:
        self.address = ""
        self.peers: tuple[str, ...] = ()
        self._verification = verification

    async def converse(self, incoming: AsyncIterator[DeviceMessage]) -> AsyncGenerator[VerifierMessage, None]:
        """As the verifier itself, but that its refusals name others."""
        async with aclosing(self._verification.converse(incoming)) as answers:
            try:
                async for message in answers:
                    yield message
            except (CapacityError, DrainingError) as error:
                raise naming(error, [peer for peer in self.peers if peer != self.address]) from None

    def describe(self) -> Description:
        """As the verifier itself, with the addresses of all."""
        return replace(self._verification.describe(), peers=self.peers)

    def drain(self) -> None:
        """As the verifier itself."""
        self._verification.drain()


def naming(error: AirdraftError, others: Sequence[str]) -> AirdraftError:
    """The same error, with the others that may have room; itself when there are none."""
    if not others:
        return error
    return type(error)(f"{error.message} Others: {', '.join(others)}.", retry_after_s=error.retry_after_s, peers=tuple(others))
