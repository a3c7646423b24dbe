"""The device's gRPC transport against real servers: dead, killed, silent, full, draining, and fed with bytes that are no message."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from airdraft.errors import (
    AirdraftError,
    CapacityError,
    DeadlineError,
    DrainingError,
    MalformedMessageError,
    ProtocolVersionError,
    SettingsError,
    UnavailableError,
)
from airdraft.messages import Draft, Open, Opened, Streamed, Verdict
from airdraft.wire import methods
from airdraft.wire.codec import encode_device
from airdraft.wire.status import from_status
from airdraft.wire.v1 import airdraft_pb2 as pb
from airdraft.wire.v1.airdraft_pb2_grpc import VerificationStub
from cloud.server import Server, ServerSettings
from edge.grpc_transport import GrpcSettings, GrpcTransport, is_local
from tests.echo_verifier import EchoVerifier
from tests.wire_examples import CONTRACT, DRAFT

ROOT = Path(__file__).resolve().parents[2]
LAST = Draft(1, 99, 0, 0, ())  # after which the echo verifier ends the stream


@asynccontextmanager
async def serving(verifier=None, **settings):
    server = Server(verifier or EchoVerifier(), ServerSettings(port=0, **settings))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def reaching(server: Server | int, **settings):
    port = server if isinstance(server, int) else server.port
    transport = GrpcTransport(f"127.0.0.1:{port}", GrpcSettings(**settings))
    try:
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def raw_call(server: Server, metadata=None):
    """A Converse call that sends and gets whatever bytes, without any bound of the device's own."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.max_send_message_length", -1)]) as channel:
        call = channel.stream_stream(methods.path(methods.CONVERSE))(metadata=metadata)
        yield call
        call.cancel()


async def how_it_ended(call) -> AirdraftError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    return from_status(caught.value.code(), caught.value.details(), tuple(caught.value.trailing_metadata()))


async def round_trip(transport: GrpcTransport) -> None:
    stream = await transport.open()
    await stream.send(DRAFT)
    assert (await stream.receive()).round == DRAFT.round
    await stream.close()


@pytest.fixture
def dead_port():
    """A port that refuses connections, held so that nobody else gets it until it is closed."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held


class Process:
    """The echo verifier in a process of its own."""

    def __init__(self, port: int = 0) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto'}"}
        command = [sys.executable, str(ROOT / "tests" / "echo_verifier.py"), str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        self.port = int(self.process.stdout.readline())

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def start():
    started = []

    def one(port: int = 0) -> Process:
        started.append(Process(port))
        return started[-1]

    yield one
    for process in started:
        process.process.kill()
        process.process.wait(60)
        process.process.stdout.close()


async def test_a_response_from_open_to_its_good_end():
    async with serving() as server, reaching(server) as transport:
        stream = await transport.open()
        await stream.send(Open(CONTRACT))
        opened = await stream.receive()
        assert isinstance(opened, Opened) and opened.committed_length == len(CONTRACT.prompt)
        await stream.send(DRAFT)
        verdict = await stream.receive()
        assert isinstance(verdict, Verdict) and verdict.accepted == len(DRAFT.tokens)
        await stream.send(LAST)
        assert (await stream.receive()).round == LAST.round
        assert await stream.receive() is None


async def test_nobody_serving_there_is_told_at_once_and_the_next_attempt_is_not_held_back(dead_port):
    port = dead_port.getsockname()[1]
    async with reaching(port, connect_deadline_s=60, describe_deadline_s=60) as transport:
        began = time.monotonic()
        for attempt in (transport.open, transport.describe, transport.open):
            with pytest.raises(UnavailableError, match=f"no verifier can be reached at 127.0.0.1:{port}"):
                await attempt()
        dead_port.close()
        server = Server(EchoVerifier(), ServerSettings(port=port))
        await server.start()
        await round_trip(transport)
        assert time.monotonic() - began < 30, "an attempt waited for its deadline or for gRPC's back-off"
        await server.stop()


async def test_a_verifier_that_accepts_and_stays_silent_is_given_up_at_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with reaching(mute.getsockname()[1], connect_deadline_s=0.2, describe_deadline_s=0.2) as transport:
            for attempt in (transport.open, transport.describe):
                with pytest.raises(DeadlineError, match=r"within 0\.2 s"):
                    await attempt()


async def test_cancelling_an_attempt_leaves_nothing_behind():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        before = asyncio.all_tasks()
        async with reaching(mute.getsockname()[1]) as transport:
            opening = asyncio.create_task(transport.open())
            await asyncio.sleep(0.05)
            opening.cancel()
            await asyncio.wait({opening})
            assert opening.cancelled()
        while {task for task in asyncio.all_tasks() - before if not task.done()}:
            await asyncio.sleep(0.01)


async def test_a_killed_verifier_ends_the_stream_and_its_successor_is_reached(start):
    first = start()
    async with reaching(first.port) as transport:
        stream = await transport.open()
        await stream.send(DRAFT)
        await stream.receive()
        receiving = asyncio.create_task(stream.receive())
        await asyncio.sleep(0)
        first.end(signal.SIGKILL)
        with pytest.raises(UnavailableError):
            await receiving
        with pytest.raises(UnavailableError):
            await stream.send(DRAFT)
        with pytest.raises(UnavailableError):
            await transport.open()
        start(first.port)
        await round_trip(transport)


async def test_a_stream_closed_while_it_owes_an_answer_makes_the_next_one_connect_afresh():
    class Deaf(EchoVerifier):
        async def converse(self, incoming):
            await asyncio.Event().wait()
            yield

    async with serving(Deaf()) as server, reaching(server) as transport:
        quiet = await transport.open()
        held = transport._connection
        await quiet.close()
        other = await transport.open()
        assert transport._connection is held
        owing = await transport.open()
        await owing.send(DRAFT)
        await owing.close()
        await transport.open()
        assert transport._connection is not held
        assert held.users == 1
        await other.close()
        assert held.users == 0


@pytest.mark.parametrize("data", [b"", b"\xff\xff", encode_device(DRAFT)[:-3]], ids=["empty", "garbage", "cut"])
async def test_bytes_that_are_no_message_end_their_own_call_in_words(data):
    async with serving() as server, reaching(server) as transport:
        bystander = await transport.open()
        async with raw_call(server) as call:
            await call.write(data)
            error = await how_it_ended(call)
        assert type(error) is MalformedMessageError
        assert f"{len(data)} bytes" in str(error)
        await bystander.send(DRAFT)
        assert (await bystander.receive()).round == DRAFT.round


async def test_a_flood_of_broken_frames_leaves_the_server_alive():
    dice = random.Random(1)
    good = encode_device(Open(CONTRACT))
    async with serving() as server, reaching(server) as transport:
        for _ in range(60):
            frame = bytearray(good[: dice.randrange(1, len(good) + 1)])
            for _ in range(dice.randrange(4)):
                frame[dice.randrange(len(frame))] ^= 1 << dice.randrange(8)
            async with raw_call(server) as call:
                await call.write(bytes(frame))
                await call.done_writing()
                try:
                    async for _ in call:
                        pass
                except grpc.aio.AioRpcError as error:
                    found = from_status(error.code(), error.details(), tuple(error.trailing_metadata()))
                    assert type(found) is MalformedMessageError, found
        await round_trip(transport)


async def test_a_message_over_the_limit_is_refused_on_both_sides():
    class Wordy(EchoVerifier):
        async def converse(self, incoming):
            yield Streamed(1, 0, (100_000,) * 2000, 2000, 0, 1)

    large = Draft(1, 1, 0, 0, (100_000,) * 2000)
    async with serving(max_message_bytes=4096) as server, reaching(server, max_message_bytes=4096) as transport:
        stream = await transport.open()
        with pytest.raises(MalformedMessageError, match="at most 4096"):
            await stream.send(large)
        async with raw_call(server) as call:
            await call.write(encode_device(large))
            assert type(await how_it_ended(call)) is MalformedMessageError
        await stream.send(DRAFT)
        assert (await stream.receive()).round == DRAFT.round
    async with serving(Wordy()) as server, reaching(server, max_message_bytes=4096) as transport:
        stream = await transport.open()
        with pytest.raises(MalformedMessageError, match="larger than max"):
            await stream.receive()


async def test_another_version_of_the_protocol_is_refused_in_words():
    async with serving() as server, raw_call(server, ((methods.PROTOCOL_KEY, "2"),)) as call:
        error = await how_it_ended(call)
    assert type(error) is ProtocolVersionError
    assert "version 2, this verifier 1" in str(error)


async def test_a_server_of_another_kind_is_told_from_a_dead_one():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with reaching(port) as transport:
        with pytest.raises(ProtocolVersionError):
            await transport.describe()
    await server.stop(None)


async def test_streams_beyond_the_limit_are_told_when_to_try_again():
    async with serving(stream_limit=2) as server, reaching(server) as transport:
        held = [await transport.open() for _ in range(2)]
        for stream in held:
            await stream.send(DRAFT)
            await stream.receive()
        third = await transport.open()
        with pytest.raises(CapacityError, match="all 2 streams") as caught:
            await third.receive()
        assert caught.value.retry_after_s == 1.0
        await held[0].send(LAST)
        await held[0].receive()
        assert await held[0].receive() is None
        await round_trip(transport)


async def test_the_generated_stubs_speak_with_the_service():
    async with serving() as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = VerificationStub(channel)
        assert (await stub.Describe(pb.DescribeRequest())).model == "echo"
        call = stub.Converse(iter([pb.DeviceEnvelope(draft=pb.Draft(round=5))]))
        assert [answer.verdict.round async for answer in call] == [5]


async def health_of(server: Server, service: str = "") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        return (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_draining_is_unhealthy_refuses_new_sessions_and_lets_running_ones_end():
    async with serving() as server, reaching(server) as transport:
        assert await health_of(server) == await health_of(server, methods.SERVICE) == health_pb2.HealthCheckResponse.SERVING
        running = await transport.open()
        await running.send(Open(CONTRACT))
        await running.receive()
        draining = asyncio.create_task(server.drain(grace_s=120))
        while not (await transport.describe()).load.draining:
            await asyncio.sleep(0.01)
        assert await health_of(server) == await health_of(server, methods.SERVICE) == health_pb2.HealthCheckResponse.NOT_SERVING
        refused = await transport.open()
        await refused.send(Open(CONTRACT))
        with pytest.raises(DrainingError, match="elsewhere") as caught:
            await refused.receive()
        assert caught.value.retry_after_s == 1.0
        await running.send(DRAFT)
        assert (await running.receive()).round == DRAFT.round
        assert not draining.done()
        await running.send(LAST)
        assert (await running.receive()).round == LAST.round
        assert await running.receive() is None
        await draining
        with pytest.raises(UnavailableError):
            await transport.open()


async def test_streams_that_outlast_the_grace_end_with_the_reason():
    async with serving() as server, reaching(server) as transport:
        stream = await transport.open()
        await stream.send(DRAFT)
        await stream.receive()
        await server.drain(grace_s=0)
        with pytest.raises(DrainingError, match="committed tokens"):
            await stream.receive()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_drains_and_ends_the_process_well(start, number):
    process = start()
    async with reaching(process.port) as transport:
        stream = await transport.open()
        await stream.send(DRAFT)
        await stream.receive()
        process.process.send_signal(number)
        while not await has_begun_to_drain(transport):
            await asyncio.sleep(0.01)
        await stream.send(LAST)
        await stream.receive()
        assert await stream.receive() is None
        assert await asyncio.to_thread(process.process.wait, 60) == 0
        assert process.process.stdout.read() == "stopped\n"


async def test_a_second_signal_does_not_wait(start):
    process = start()
    async with reaching(process.port) as transport:
        stream = await transport.open()
        await stream.send(DRAFT)
        await stream.receive()
        process.process.send_signal(signal.SIGTERM)
        while not await has_begun_to_drain(transport):
            await asyncio.sleep(0.01)
        process.process.send_signal(signal.SIGTERM)
        with pytest.raises(DrainingError):
            await stream.receive()
        assert await asyncio.to_thread(process.process.wait, 20) == 0, "the grace of 30 s was waited for"


async def has_begun_to_drain(transport: GrpcTransport) -> bool:
    return (await transport.describe()).load.draining


async def test_a_port_in_use_is_a_settings_error_in_words():
    async with serving() as server:
        with pytest.raises(SettingsError, match=f"cannot serve on 127.0.0.1:{server.port}.*free port"):
            await Server(EchoVerifier(), ServerSettings(port=server.port)).start()


async def test_a_certificate_without_its_key_is_refused():
    with pytest.raises(SettingsError, match="belong together"):
        await Server(EchoVerifier(), ServerSettings(port=0, certificate_chain=Path("cert.pem"))).start()
    with pytest.raises(SettingsError, match=r"nowhere\.pem"):
        await Server(EchoVerifier(), ServerSettings(port=0, certificate_chain=Path("nowhere.pem"), private_key=Path("nowhere.pem"))).start()


async def test_tls_is_spoken_with_the_certificate_given_and_with_no_other(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and a certificate is needed")
    for name in ("verifier", "stranger"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", f"{name}.key", "-out", f"{name}.pem"],
            cwd=tmp_path, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    async with serving(certificate_chain=tmp_path / "verifier.pem", private_key=tmp_path / "verifier.key") as server:
        async with reaching(server, root_certificates=tmp_path / "verifier.pem") as transport:
            await round_trip(transport)
        for wrong in ({}, {"root_certificates": tmp_path / "stranger.pem"}):
            async with reaching(server, connect_deadline_s=30, **wrong) as transport:
                with pytest.raises(UnavailableError, match="over TLS" if wrong else "no verifier can be reached"):
                    await transport.open()


@pytest.mark.parametrize("target", ["", "verifier", "http://verifier:50051", "host:0", "host:port", ":50051", "host:70000", "a/b:1"])
def test_an_address_that_is_none_is_refused_in_words(target):
    with pytest.raises(SettingsError, match="host:port"):
        GrpcTransport(target)


@pytest.mark.parametrize(
    "target, local",
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("dns:///localhost:1", True),
        ("10.0.0.1:1", False),
        ("verifier.example:443", False),
        ("localhost.example:1", False),
    ],
)
def test_only_this_machine_is_reached_in_the_clear_by_default(target, local):
    assert is_local(target) is local
    assert (GrpcTransport(target)._credentials is None) is local
    assert GrpcTransport(target, GrpcSettings(tls=False))._credentials is None
    assert GrpcTransport(target, GrpcSettings(tls=True))._credentials is not None


def test_certificates_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="leave one of them out"):
        GrpcTransport("h:1", GrpcSettings(tls=False, root_certificates=tmp_path))
    with pytest.raises(SettingsError, match="readable PEM"):
        GrpcTransport("h:1", GrpcSettings(root_certificates=tmp_path / "nowhere.pem"))
