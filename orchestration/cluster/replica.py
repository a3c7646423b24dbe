"""One verifier of a cluster: its server, what it tells the directory, and how it drains and ends. Where it runs is decided elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

from airdraft.errors import AirdraftError, InternalError
from cloud.server import Server
from orchestration import hardware
from orchestration.assembly import Cloud, CloudSettings, build_server
from orchestration.cluster.peers import AmongPeers
from orchestration.cluster.reports import Counts, ReplicaReport

log = logging.getLogger(__name__)

Announce = Callable[[ReplicaReport], Awaitable[Sequence[str]]]
ANNOUNCE_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """What one replica is to be."""

    name: str
    settings: CloudSettings  # with its own port and host
    advertised_host: str  # under which devices reach it
    node: str
    shards: int = 1
    report_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Watch:
    """How a replica notices that its target is beyond help, and what it does then."""

    fault: Callable[[], AirdraftError | None] = lambda: None
    give_up: Callable[[AirdraftError], None] = lambda fault: None
    shard_process_ids: Callable[[], tuple[int, ...]] = tuple


class Replica:
    """`build` loads the target (it may take minutes, and runs on a thread); `announce` tells the directory, and brings who else serves."""

    def __init__(self, plan: ReplicaPlan, build: Callable[[], Cloud], announce: Announce, watch: Watch = Watch()) -> None:
        self.plan = plan
        self._build = build
        self._announce = announce
        self._watch = watch
        self._incarnation = secrets.token_hex(8)
        self._machine = ""
        self._cloud: Cloud | None = None
        self._server: Server | None = None
        self._among: AmongPeers | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._was_heard = True

    async def start(self) -> ReplicaReport:
        """Load, serve, and report from now on; the first report. Raises what building a verifier or serving raises."""
        self._cloud = await asyncio.to_thread(self._build)
        model = self.plan.settings.verifier.model
        self._machine = hardware.described(model.device if model else "cpu")
        self._among = AmongPeers(self._cloud.verifier)
        self._server = build_server(self._among, self.plan.settings.server)
        port = await self._server.start()
        self._among.address = f"{_written(self.plan.advertised_host)}:{port}"
        await self._tell()
        self._reporting = asyncio.create_task(self._keep_telling(), name="reports")
        return self.report()

    def report(self) -> ReplicaReport:
        """How it is now. Raises InternalError before `start` is done."""
        cloud, server, among = self._parts()
        return ReplicaReport(
            name=self.plan.name,
            incarnation=self._incarnation,
            address=among.address,
            node=self.plan.node,
            process_id=os.getpid(),
            machine=self._machine,
            shards=self.plan.shards,
            is_tls=server.settings.certificate_chain is not None,
            served=among.describe(),
            slots=len(slots := cloud.verifier.slots.view()),
            slots_in_use=sum(slot.owner is not None for slot in slots),
            shard_process_ids=self._watch.shard_process_ids(),
            counts=counts(cloud, server),
        )

    async def drain(self, grace_s: float) -> None:
        """Take nobody new, say so, let running streams go on for so long, then end them: their sessions open elsewhere."""
        cloud, server, among = self._parts()
        among.drain()
        await self._tell()
        await server.drain(grace_s)
        await cloud.verifier.close()

    async def stop(self) -> None:
        """End everything now. Safe to call again, and before `start` is done."""
        if self._reporting is not None:
            self._reporting.cancel()
            await asyncio.wait({self._reporting})
        if self._server is not None:
            await self._server.stop()
        if self._cloud is not None:
            await self._cloud.verifier.close()
            self._cloud.clock.close()

    def _parts(self) -> tuple[Cloud, Server, AmongPeers]:
        if self._cloud is None or self._server is None or self._among is None:
            raise InternalError(f"{self.plan.name} is not serving yet; wait until it is ready")
        return self._cloud, self._server, self._among

    async def _keep_telling(self) -> None:
        while (fault := self._watch.fault()) is None:
            await self._tell()
            await asyncio.sleep(self.plan.report_s)
        log.error("%s gives up: %s", self.plan.name, fault.message)
        self._watch.give_up(fault)

    async def _tell(self) -> None:
        """Report. A directory that is away is told again next time."""
        _, _, among = self._parts()
        try:
            async with asyncio.timeout(ANNOUNCE_DEADLINE_S):
                among.peers = tuple(await self._announce(self.report()))
            self._was_heard = True
        except Exception as error:
            if self._was_heard:
                log.warning("%s cannot reach the directory: %r", self.plan.name, error)
            self._was_heard = False


def counts(cloud: Cloud, server: Server) -> Counts:
    """Sums since the start, by the names that status and metrics show."""
    verifier, batcher, traffic = cloud.verifier.counts, cloud.verifier.batcher.counts, server.traffic
    plain = ("opened", "resumed", "finished", "rounds", "drafted", "accepted", "stale", "replays", "streamed", "emitted")
    return {
        **{name: float(getattr(verifier, name)) for name in plain},
        "errors": float(sum(verifier.errors.values())),
        "forwards": float(batcher.forwards),
        "rows": float(batcher.rows),
        "sequences": float(batcher.sequences),
        "forward_s": batcher.compute_s,
        **{name: float(value) for name, value in asdict(traffic).items()},
    }


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
