"""A verifier without a model, alone in a process: `python tests/echo_verifier.py PORT` prints its port and serves until a signal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from airdraft.errors import DrainingError
from airdraft.messages import Description, DeviceMessage, Draft, Load, Open, Opened, Outcome, Verdict, VerifierMessage
from cloud.server import Server, ServerSettings


class EchoVerifier:
    """Opens anything, accepts every draft whole, and ends the stream in good order after an empty draft."""

    def __init__(self) -> None:
        self.draining = False

    async def converse(self, incoming: AsyncIterator[DeviceMessage]) -> AsyncIterator[VerifierMessage]:
        async for message in incoming:
            match message:
                case Open():
                    if self.draining:
                        raise DrainingError("going away; open elsewhere", retry_after_s=1.0)
                    yield Opened("s1", bytes(16), message.epoch, 8, len(message.contract.prompt), 0)
                case Draft():
                    length = message.position + len(message.tokens) + 1
                    yield Verdict(message.epoch, message.round, Outcome.JUDGED, len(message.tokens), 1, length, message.digest, 8)
                    if not message.tokens:
                        return

    def describe(self) -> Description:
        return Description(1, "0", "echo", b"", 8, ("exact",), 100, 8, Load(0, 1, 0, self.draining))

    def drain(self) -> None:
        self.draining = True


async def main(port: int) -> None:
    server = Server(EchoVerifier(), ServerSettings(port=port))
    print(await server.start(), flush=True)
    await server.run_until_signal()
    print("stopped", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
