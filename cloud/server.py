"""The process around the service: a port, health for whoever watches it, and an orderly end. It knows nothing of models."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from pydantic import Field

from airdraft.errors import SettingsError
from airdraft.settings import Settings
from airdraft.transport import Traffic
from airdraft.wire import methods
from airdraft.wire.bounds import MAX_MESSAGE_BYTES
from cloud.service import Service, Verification

SPARE_CALLS = 64  # beside the streams: room for Describe and health
STOP_GRACE_S = 1.0  # for calls that watch health, and for last words on their way
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class ServerSettings(Settings):
    """Where and how to serve. Without a certificate the port speaks in the clear: for this machine, or a network of one's own."""

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535, description="0: any free port")
    stream_limit: int = Field(default=256, ge=1, le=65536)
    max_message_bytes: int = Field(default=MAX_MESSAGE_BYTES, ge=1024, lt=2**31)
    drain_grace_s: float = Field(default=30.0, ge=0, description="how long running streams may go on once the server shall stop")
    keepalive_s: float = Field(default=20.0, ge=1, description="silence after which a device is asked for a sign of life")
    keepalive_deadline_s: float = Field(default=10.0, gt=0)
    certificate_chain: Path | None = Field(default=None, description="PEM file; with private_key, the port speaks TLS")
    private_key: Path | None = None


class Server:
    """Serves one verifier on one port."""

    def __init__(self, verification: Verification, settings: ServerSettings | None = None) -> None:
        self.settings = settings or ServerSettings()
        self.port = 0
        self._verification = verification
        self._service = Service(verification, self.settings.stream_limit)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    @property
    def traffic(self) -> Traffic:
        """Messages of all streams so far, ended ones included."""
        return self._service.traffic

    async def start(self) -> int:
        """Bind and serve; the port it is. Raises SettingsError when the port cannot be had or a certificate cannot be read."""
        settings = self.settings
        server = grpc.aio.server(options=server_options(settings), maximum_concurrent_rpcs=settings.stream_limit + SPARE_CALLS)
        server.add_generic_rpc_handlers((self._service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        credentials = _credentials(settings)
        address = f"{settings.host}:{settings.port}"
        try:
            bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(
                f"cannot serve on {address}: {error}. Choose a free port, or 0 for any; and an address of this machine"
            ) from error
        await server.start()
        await self._health.set(methods.SERVICE, health_pb2.HealthCheckResponse.SERVING)
        self._server, self.port = server, bound
        log.info("serving on %s:%d", settings.host, bound)
        return bound

    async def drain(self, grace_s: float | None = None) -> None:
        """Stop in good order: unhealthy at once, no new sessions, running streams until they end or `grace_s` is over, then stopped."""
        grace_s = self.settings.drain_grace_s if grace_s is None else grace_s
        log.info("draining %d streams for up to %g s", self._service.streams, grace_s)
        await self._health.enter_graceful_shutdown()
        self._verification.drain()
        if not await self._service.idle(grace_s):
            log.info("ending %d streams that are still running", self._service.streams)
        await self.stop()

    async def stop(self) -> None:
        """Stop now: running streams end with DrainingError. Safe to call again."""
        self._service.end_all()
        await self._service.idle(STOP_GRACE_S)
        if self._server:
            await self._server.stop(STOP_GRACE_S)

    async def run_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal stops at once. Call after `start`."""
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        patience = asyncio.timeout(None)

        def on_signal() -> None:
            if asked.is_set():
                patience.reschedule(loop.time())
            asked.set()

        try:
            async with patience:
                for number in SIGNALS:
                    loop.add_signal_handler(number, on_signal)
                await asked.wait()
                await self.drain()
        except TimeoutError:
            log.info("asked a second time: stopping now")
            await self.stop()
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)


def server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """gRPC's own options: one server per port, bounds, and signs of life both ways (gRPC by itself hangs up on who pings often)."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", round(settings.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_deadline_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    if settings.certificate_chain is None and settings.private_key is None:
        return None
    if settings.certificate_chain is None or settings.private_key is None:
        raise SettingsError("certificate_chain and private_key belong together; give both or neither")
    try:
        return grpc.ssl_server_credentials([(settings.private_key.read_bytes(), settings.certificate_chain.read_bytes())])
    except OSError as error:
        raise SettingsError(f"certificate: {error}. Expected readable PEM files.") from error
