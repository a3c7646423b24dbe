"""One device of a cluster: a drafter, the link it is behind, and one response at a time from the verifier that the directory assigns."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from airdraft.clock import WallClock
from airdraft.errors import UnavailableError
from airdraft.messages import Contract
from airdraft.transport import Transport
from edge.grpc_transport import GrpcSettings, GrpcTransport
from edge.link_meter import LinkMeter
from edge.replicas import Replicas
from edge.seams import Drafter, Token
from edge.settings import DeviceSettings
from edge.statistics import ResponseStatistics
from orchestration import hardware
from orchestration.assembly import build_session
from orchestration.cluster.reports import DeviceReport
from orchestration.cluster.shaped_way import ShapedWay
from orchestration.link import LinkSettings
from orchestration.sweep.inputs import Inputs

log = logging.getLogger(__name__)

ASK_AGAIN_S = 0.25
ASK_DEADLINE_S = 5.0
TELL_DEADLINE_S = 10.0


class Desk(Protocol):
    """The directory, as a device reaches it."""

    async def assign(self) -> Sequence[str]:
        """Where the next response shall go, best first."""
        ...

    async def report_device(self, report: DeviceReport) -> None:
        """How a device is."""
        ...


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """What one device is to be."""

    name: str
    settings: DeviceSettings
    node: str
    link: LinkSettings | None = None
    is_tls: bool = False
    root_certificates: Path | None = None
    report_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Behind:
    """A link to be behind in place of one's own, as in an experiment.

    All that one occasion asks goes over the same connections; each occasion begins with new ones, at its link's time 0, and with a drafter
    that remembers nothing. `files`: what the link names, since the device's machine may not have it.
    """

    link: LinkSettings
    occasion: str
    files: Inputs = field(default_factory=lambda: Inputs({}))

    def link_here(self) -> LinkSettings | None:
        """The link with its trace where it lies on this machine; None when nothing need be emulated."""
        if self.link.changes_nothing:
            return None
        trace = self.files.unpacked().get(str(self.link.trace), self.link.trace)
        return self.link.model_copy(update={"trace": trace})


@dataclass(frozen=True, slots=True)
class Answered:
    """One whole response: its tokens, all of them verified, and what it cost."""

    tokens: tuple[int, ...]
    statistics: ResponseStatistics


class ClusterDevice:
    """A device. Responses queue; each goes where the directory says when its turn comes, and elsewhere when that verifier is lost."""

    def __init__(self, plan: DevicePlan, drafter: Drafter, desk: Desk) -> None:
        self.plan = plan
        self._drafter = drafter
        self._desk = desk
        self._clock = WallClock(plan.name)
        self._meter = LinkMeter()
        self._incarnation = secrets.token_hex(8)
        model = plan.settings.drafter.model
        self._machine = hardware.described(model.device if model else "cpu")
        self._replicas: Replicas | None = None
        self._behind: Behind | None = None
        self._link = plan.link  # the one that it is behind now; None: the network as it is
        self._turn = asyncio.Lock()
        self._is_hung_up = False
        self._last = ResponseStatistics()
        self._counts: Counter[str] = Counter()
        self._reporting: asyncio.Task[None] | None = None
        self._was_heard = True

    async def start(self) -> DeviceReport:
        """Report from now on; the first report."""
        await self._tell()
        self._reporting = asyncio.create_task(self._keep_telling(), name="reports")
        return self.report()

    def report(self) -> DeviceReport:
        """How it is now."""
        return DeviceReport(
            name=self.plan.name,
            incarnation=self._incarnation,
            node=self.plan.node,
            process_id=os.getpid(),
            machine=self._machine,
            link=self._link.name if self._link else "no link",
            drafter=_drafter_name(self.plan.settings),
            is_answering=self._turn.locked(),
            replica=self._replicas.current if self._replicas else "",
            counts=dict(self._counts),
        )

    @property
    def last(self) -> ResponseStatistics:
        """What the response at work, or the last one, costs so far."""
        return self._last

    async def stream(
        self, contract: Contract, settings: DeviceSettings | None = None, behind: Behind | None = None
    ) -> AsyncGenerator[Token, None]:
        """One response's tokens as they come. Raises as `Session.generate`.

        `settings` replace the device's own, but for its drafter; `behind` its own link.
        """
        async with self._turn:
            self._is_hung_up = False
            await self._move(behind)
            replicas = await self._assigned()
            session = build_session(settings or self.plan.settings, self._drafter, replicas, self._clock, self._meter)
            try:
                async with aclosing(session.generate(contract)) as tokens:
                    async for token in tokens:
                        self._last = session.statistics
                        yield token
                        if self._is_hung_up:
                            return
                self._counts["responses"] += 1
            except Exception:
                self._counts["failures"] += 1
                raise
            finally:
                self._last = session.statistics
                self._count(session.statistics)

    async def answer(self, contract: Contract, settings: DeviceSettings | None = None, behind: Behind | None = None) -> Answered:
        """One whole response, asked as `stream` is."""
        ids: dict[int, int] = {}
        async with aclosing(self.stream(contract, settings, behind)) as tokens:
            async for token in tokens:
                if token.verified:
                    ids[token.position] = token.id
        return Answered(tuple(ids[position] for position in sorted(ids)), self._last)

    def hang_up(self) -> None:
        """End the response at work after its next token."""
        self._is_hung_up = True

    async def stop(self) -> None:
        """Hang up and end. Safe to call again."""
        if self._reporting is not None:
            self._reporting.cancel()
            await asyncio.wait({self._reporting})
        if self._replicas is not None:
            await self._replicas.close()
        self._clock.close()

    async def _move(self, behind: Behind | None) -> None:
        """Be behind this link from now on, with everything begun anew, unless that is so already."""
        if behind == self._behind:
            return
        if self._replicas is not None:
            await self._replicas.close()
            self._replicas = None
        self._drafter.roll_back(0)
        self._meter = LinkMeter()
        self._link = self.plan.link if behind is None else behind.link_here()
        self._behind = behind

    async def _assigned(self) -> Replicas:
        """The verifiers to go to, in the directory's order. Raises UnavailableError when there are none for too long."""
        if self._replicas is None:
            self._replicas = Replicas(await self._ask_until_somebody_serves(), self._connect, self._desk.assign)
        else:
            await self._replicas.prefer(await self._ask_once())
        return self._replicas

    async def _ask_once(self) -> Sequence[str]:
        """What the directory says; nothing while it is away, so that those who were known stay known."""
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(ASK_DEADLINE_S):
                return await self._desk.assign()
        return ()

    async def _ask_until_somebody_serves(self) -> Sequence[str]:
        patience_s = self.plan.settings.patience_s
        try:
            async with asyncio.timeout(patience_s):
                while not (addresses := await self._ask_once()):
                    await asyncio.sleep(ASK_AGAIN_S)
                return addresses
        except TimeoutError:
            raise UnavailableError(
                f"{self.plan.name} found no verifier that serves within {patience_s:g} s. See `airdraft status`."
            ) from None

    def _connect(self, address: str) -> Transport:
        if self._link is not None:
            return ShapedWay(address, self._link)
        certificates = self.plan.root_certificates
        return GrpcTransport(address, GrpcSettings(tls=self.plan.is_tls, root_certificates=certificates if self.plan.is_tls else None))

    def _count(self, statistics: ResponseStatistics) -> None:
        for name in ("tokens", "rounds", "drafted", "accepted", "reconnects", "draft_s", "draft_steps"):
            self._counts[name] += getattr(statistics, name)
        for name in ("bytes_up", "bytes_down", "messages_up", "messages_down"):
            self._counts[name] += getattr(statistics.traffic, name)

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(self.plan.report_s)
            await self._tell()

    async def _tell(self) -> None:
        """Report. Whatever keeps the directory away, it is told again next time."""
        try:
            async with asyncio.timeout(TELL_DEADLINE_S):
                await self._desk.report_device(self.report())
            self._was_heard = True
        except Exception as error:
            if self._was_heard:
                log.warning("%s cannot reach the directory: %r", self.plan.name, error)
            self._was_heard = False


def _drafter_name(settings: DeviceSettings) -> str:
    drafter = settings.drafter
    return f"{drafter.kind}:{Path(drafter.model.model).name}" if drafter.model else drafter.kind
