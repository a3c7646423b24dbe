"""gRPC through the proxy, as airdraft uses it: a stream both ways, an upstream that is not there, a cut in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
import pytest
from grpc import aio

from orchestration.link import Address, LinkSettings, ShapingProxy, build

Call: TypeAlias = "aio.StreamStreamCall[bytes, bytes]"
DEADLINE_S = 30.0
METHOD = "/test.Echo/Converse"


@asynccontextmanager
async def echo_server() -> AsyncIterator[Address]:
    async def converse(incoming: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for message in incoming:
            yield message

    handler = grpc.method_handlers_generic_handler("test.Echo", {"Converse": grpc.stream_stream_rpc_method_handler(converse)})
    server = aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Address("127.0.0.1", port)
    finally:
        await server.stop(grace=None)


def channel_to(address: Address) -> aio.Channel:
    return aio.insecure_channel(f"{address.host}:{address.port}")


@pytest.mark.parametrize("preset", ["loopback", "5g", "lte"])
async def test_a_stream_both_ways_goes_through(preset: str) -> None:
    async with (
        echo_server() as server,
        ShapingProxy(server, build(LinkSettings(preset=preset))) as proxy,
        channel_to(proxy.address) as channel,
    ):
        call: Call = channel.stream_stream(METHOD)(timeout=DEADLINE_S)
        for number in range(5):
            await call.write(b"%d" % number * 20)
            assert await call.read() == b"%d" % number * 20
        await call.done_writing()
        assert await call.read() is aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_an_upstream_that_is_not_there_is_unavailable_and_not_a_timeout() -> None:
    async with echo_server() as server:
        gone = server
    async with ShapingProxy(gone, build(LinkSettings(preset="lte"))) as proxy, channel_to(proxy.address) as channel:
        with pytest.raises(aio.AioRpcError) as failure:
            await channel.stream_stream(METHOD)(timeout=DEADLINE_S).read()
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_cut_ends_the_stream_as_unavailable_and_the_next_one_goes_through() -> None:
    async with (
        echo_server() as server,
        ShapingProxy(server, build(LinkSettings(preset="wifi"))) as proxy,
        channel_to(proxy.address) as channel,
    ):
        call: Call = channel.stream_stream(METHOD)(timeout=DEADLINE_S)
        await call.write(b"before")
        assert await call.read() == b"before"
        proxy.cut()
        with pytest.raises(aio.AioRpcError) as failure:
            await call.read()
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        again: Call = channel.stream_stream(METHOD)(timeout=DEADLINE_S, wait_for_ready=True)
        await again.write(b"after")
        assert await again.read() == b"after"
        again.cancel()
