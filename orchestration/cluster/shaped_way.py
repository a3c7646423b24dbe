"""A way to one verifier through an emulated link: a shaping proxy of its own on this machine, and a transport to that."""

from __future__ import annotations

from airdraft.messages import Description
from airdraft.transport import MessageStream
from edge.grpc_transport import GrpcSettings, GrpcTransport
from orchestration.cli.addresses import parse_address, written
from orchestration.link import LinkSettings, ShapingProxy, build
from orchestration.link.proxy import Limits


class ShapedWay:
    """A `Transport` to `address` (host:port, spoken to in the clear). A device that knows several verifiers has one such way to each.

    Every way is shaped by itself: what a device has in flight to one verifier does not slow what it sends to another.
    """

    def __init__(self, address: str, link: LinkSettings) -> None:
        """Opens nothing yet. Raises SettingsError for an address or a link that cannot be used."""
        upstream = parse_address(address, "the verifier's address", lowest_port=1)
        self._proxy = ShapingProxy(upstream, build(link), seed=link.seed, limits=Limits(window=link.window))
        self._transport: GrpcTransport | None = None

    async def open(self) -> MessageStream:
        """As `GrpcTransport.open`."""
        return await (await self._ready()).open()

    async def describe(self) -> Description:
        """As `GrpcTransport.describe`."""
        return await (await self._ready()).describe()

    async def close(self) -> None:
        """Close the connection and the proxy. Safe to call again."""
        if self._transport is not None:
            await self._transport.close()
        await self._proxy.close()

    async def _ready(self) -> GrpcTransport:
        if self._transport is None:
            await self._proxy.start()
            self._transport = GrpcTransport(written(self._proxy.address), GrpcSettings(tls=False))
        return self._transport
