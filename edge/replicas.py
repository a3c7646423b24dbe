"""A way to several verifiers of one model: a session stays at its verifier while that one answers, and goes on at another one when not.

It knows addresses and errors, and neither sessions nor what the messages say: a session that arrives elsewhere is opened anew by its line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

from airdraft.errors import AirdraftError, CapacityError, DeadlineError, DrainingError, SettingsError, UnavailableError
from airdraft.messages import Description, DeviceMessage, VerifierMessage
from airdraft.transport import MessageStream, Transport

KNOWN_LIMIT = 64  # addresses

Result = TypeVar("Result")
Connect = Callable[[str], Transport]
Discover = Callable[[], Awaitable[Sequence[str]]]


class Replicas:
    """A `Transport` over the verifiers at `addresses` (host:port each), the first of which is tried first.

    `connect` makes the way to one of them. `discover`, where there is somebody to ask, is asked once none of them could be reached. Other
    verifiers that a description or a refusal names are remembered as well, unless what was asked is an address of this machine that the
    verifier does not know itself by: a proxy, which leads nowhere else.
    """

    def __init__(self, addresses: Sequence[str], connect: Connect, discover: Discover | None = None) -> None:
        """Connects to nothing yet. Raises SettingsError without an address."""
        self._addresses: list[str] = []
        self._connect = connect
        self._discover = discover
        self._ways: dict[str, Transport] = {}
        self._refused: set[str] = set()  # since one was last at our service
        self._out_of_reach: set[str] = set()  # when last tried
        self.learn(addresses)
        if not self._addresses:
            raise SettingsError("no verifier to connect to: give at least one address as host:port.")
        self._current = self._addresses[0]

    @property
    def current(self) -> str:
        """The address that the next stream is opened to."""
        return self._current

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that are known."""
        return tuple(self._addresses)

    def learn(self, addresses: Iterable[str]) -> None:
        """Remember these as well, up to a limit."""
        for address in addresses:
            if address and address not in self._addresses and len(self._addresses) < KNOWN_LIMIT:
                self._addresses.append(address)

    async def prefer(self, addresses: Sequence[str]) -> None:
        """Know these and no others from now on, and open the next stream to the first. For use between responses."""
        if not addresses:
            return
        for gone in self._ways.keys() - set(addresses):
            await self._ways.pop(gone).close()
        self._addresses = list(dict.fromkeys(addresses))[:KNOWN_LIMIT]
        self._current = self._addresses[0]
        self._refused.clear()
        self._out_of_reach &= set(self._addresses)

    async def open(self) -> ReplicaStream:
        """A stream to the current verifier, or to the first after it that can be reached. Raises what the last attempt raised."""
        address, stream = await self._first_in_reach(lambda way: way.open())
        return ReplicaStream(stream, address, self)

    async def describe(self) -> Description:
        """Ask the current verifier, or the first in reach after it; what begins next begins at the least loaded that it names."""
        asked, served = await self._first_in_reach(lambda way: way.describe())
        peers = served.peers if asked in served.peers or not _is_here(asked) else ()
        self.learn(peers)
        self._current = next((peer for peer in peers if peer in self._addresses and peer not in self._out_of_reach), asked)
        return served

    async def close(self) -> None:
        """Close every connection. Safe to call again."""
        for way in self._ways.values():
            await way.close()

    def answered(self, address: str) -> None:
        """A verifier is at our service."""
        self._refused.clear()
        self._out_of_reach.discard(address)

    def move_on(self, address: str) -> None:
        """Go on after this address, unless that has been done already."""
        if address == self._current:
            self._current = self._after(address)[0]

    def refused(self, address: str, error: AirdraftError) -> AirdraftError:
        """Go on where there may be room; the error to pass on, without a time to wait while somebody is left who has not refused."""
        self._refused.add(address)
        if not _is_here(address):
            self.learn(error.peers)
        named = [peer for peer in error.peers if peer in self._addresses]
        left = [other for other in (*named, *self._after(address)) if other not in self._refused]
        if not left:
            self._refused.clear()
            self.move_on(address)
            return error
        self._current = left[0]
        return type(error)(error.message, peers=error.peers)

    def _after(self, address: str) -> list[str]:
        """All addresses in order, beginning with the one after this, which comes last."""
        place = self._addresses.index(address) + 1 if address in self._addresses else 0
        return [*self._addresses[place:], *self._addresses[:place]]

    def _way(self, address: str) -> Transport:
        if address not in self._ways:
            self._ways[address] = self._connect(address)
        return self._ways[address]

    async def _first_in_reach(self, ask: Callable[[Transport], Awaitable[Result]]) -> tuple[str, Result]:
        fault: AirdraftError = UnavailableError("no verifier is known")
        for _ in range(len(self._addresses)):
            address = self._current
            try:
                result = await ask(self._way(address))
            except (UnavailableError, DeadlineError, CapacityError) as error:
                fault = error
            except BaseException:
                self._lost(address)  # cancelled by somebody's deadline: what takes too long is not tried first again
                raise
            else:
                self._out_of_reach.discard(address)
                return address, result
            self._lost(address)
        await self._ask_around()
        raise fault

    def _lost(self, address: str) -> None:
        self._out_of_reach.add(address)
        self.move_on(address)

    async def _ask_around(self) -> None:
        """After everybody has failed: whoever is known by now, in the order that whoever knows has put them."""
        if self._discover is not None:
            with suppress(AirdraftError):  # whoever is asked may be out of reach as well; why the verifiers are is what counts
                await self.prefer(await self._discover())


def _is_here(address: str) -> bool:
    """Whether it is on this machine, where a proxy or a tunnel may stand for a verifier: going to its peers would lead around that."""
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


class ReplicaStream:
    """One verifier's stream, watched for how it fails."""

    def __init__(self, stream: MessageStream, address: str, replicas: Replicas) -> None:
        self.traffic = stream.traffic
        self._stream = stream
        self._address = address
        self._replicas = replicas
        self._brought = False  # anything at all
        self._over = False  # whether the way it ended has been taken account of
        self._failure: AirdraftError | None = None

    async def send(self, message: DeviceMessage) -> None:
        """As the verifier's own stream."""
        try:
            await self._stream.send(message)
        except AirdraftError as error:
            raise self._failed(error) from None

    async def receive(self) -> VerifierMessage | None:
        """As the verifier's own stream; a refusal asks for no wait while another verifier is left to be tried."""
        try:
            message = await self._stream.receive()
        except AirdraftError as error:
            raise self._failed(error) from None
        if message is None:
            self._over = True
        elif not self._brought:
            self._brought = True
            self._replicas.answered(self._address)
        return message

    async def close(self) -> None:
        """Hang up. A verifier that has not said a word is not the first to be tried again."""
        if not self._over and not self._brought:
            self._replicas.move_on(self._address)
        self._over = True
        await self._stream.close()

    def _failed(self, error: AirdraftError) -> AirdraftError:
        """Decide once where to go on. A connection that broke is tried again at the same verifier first: more often it was the link."""
        if self._over:
            return self._failure or error
        self._over, self._failure = True, error
        if isinstance(error, DrainingError) or (isinstance(error, CapacityError) and not self._brought):
            self._failure = self._replicas.refused(self._address, error)
        elif isinstance(error, UnavailableError | DeadlineError) and not self._brought:
            self._replicas.move_on(self._address)
        return self._failure
