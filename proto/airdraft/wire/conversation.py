"""One conversation in bytes around a verifier that speaks in messages. It knows neither gRPC nor the link."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from airdraft.messages import DeviceMessage, VerifierMessage
from airdraft.wire.codec import decode_device, encode_verifier

Converse = Callable[[AsyncIterator[DeviceMessage]], AsyncIterator[VerifierMessage]]


class _Decoded:
    """What a device sent, as messages. Not a generator: a reader may leave it half-read with nothing to clean up."""

    def __init__(self, incoming: AsyncIterator[bytes]) -> None:
        self._incoming = incoming

    def __aiter__(self) -> AsyncIterator[DeviceMessage]:
        return self

    async def __anext__(self) -> DeviceMessage:
        return decode_device(await anext(self._incoming))


async def conversation(converse: Converse, incoming: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Encoded answers to encoded messages, until the verifier ends the stream.

    Bytes that cannot be decoded raise MalformedMessageError where the verifier reads its next message. Close this generator, whatever ends
    the conversation; that closes the verifier's own.
    """
    outgoing = converse(_Decoded(incoming))
    try:
        async for message in outgoing:
            yield encode_verifier(message)
    finally:
        if isinstance(outgoing, AsyncGenerator):
            await outgoing.aclose()
