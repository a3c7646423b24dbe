"""`airdraft doctor`: is everything here that is needed, what does it cost, and will drafting pay?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from orchestration.cli import options

if TYPE_CHECKING:
    from airdraft.messages import Description
    from airdraft.transport import Transport
    from edge.settings import DeviceSettings
    from orchestration.assembly import Device
    from orchestration.cli.checks import Check
    from orchestration.cli.connection import Way

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "not measured": "dim"}
NO_CLOUD = "no --cloud was given"


def doctor(
    cloud: Annotated[str | None, typer.Option("--cloud", envvar="AIRDRAFT_CLOUD", metavar="HOST:PORT", help="The verifier.")] = None,
    drafter: options.Drafter = None,
    draft_length: options.DraftLength = None,
    tokenizer: options.Tokenizer = None,
    dtype: options.Dtype = None,
    device: options.Hardware = None,
    threads: options.Threads = None,
    tls: options.Tls = None,
    root_certificates: options.RootCertificates = None,
) -> None:
    """Check versions, models and the pair; with --cloud measure link, drafter and verifier, and say whether drafting will pay.

    Exit code 1 when something that is needed fails. Every figure is measured; what could not be measured says why.
    """
    from orchestration import assembly
    from orchestration.cli.connection import Way

    flags = options.DeviceFlags(drafter=drafter, draft_length=draft_length, dtype=dtype, hardware=device, threads=threads)
    settings = options.device_settings(flags)
    assembly.wait_passively()
    console = Console(highlight=False)
    way = Way(cloud, tls, root_certificates, tokenizer) if cloud is not None else None
    statuses = set()
    for check in examination(settings, way, console):
        statuses.add(check.status)
        _show(console, check)
    if "fail" in statuses:
        raise typer.Exit(1)


def examination(settings: DeviceSettings, way: Way | None, console: Console) -> Iterator[Check]:
    """All checks, as they are done. One that fails leaves out those that need it, and they say so."""
    from airdraft.errors import AirdraftError
    from orchestration.cli import checks
    from orchestration.cli.checks import Check, Status

    if way is None:
        yield from checks.local_checks(settings.drafter, options.DEFAULT_TARGET)
        for name in ("verifier", "link", "forward", "acceptance", "drafting pays"):
            yield Check(name, Status.UNKNOWN, NO_CLOUD)
        return
    transport = options.transport_to(way.cloud, way.tls, way.root_certificates)
    with asyncio.Runner() as runner:
        try:
            served, unreachable = runner.run(transport.describe()), None
        except AirdraftError as error:
            served, unreachable = None, error
        try:
            yield from checks.local_checks(settings.drafter, served.model if served else None)
            if served is None:
                assert unreachable is not None
                yield Check("verifier", Status.FAIL, unreachable.message, "start one with: airdraft serve")
                return
            yield checks.verifier(served)
            yield from _measurements(Measuring(runner, transport, served, settings, way.tokenizer, console))
        finally:
            runner.run(transport.close())


@dataclass(frozen=True, slots=True)
class Measuring:
    """What measurements need."""

    runner: asyncio.Runner
    transport: Transport
    served: Description
    settings: DeviceSettings
    tokenizer: str | None
    console: Console


def _measurements(needs: Measuring) -> Iterator[Check]:
    from airdraft import models
    from airdraft.errors import AirdraftError
    from orchestration import assembly
    from orchestration.cli import checks
    from orchestration.cli.checks import Check, Status

    drafter = needs.settings.drafter
    if drafter.model is not None and models.locate(drafter.model.model) is None:
        yield Check("link", Status.UNKNOWN, "the drafter, and with it the tokenizer, is not on this machine")
        return
    try:
        with needs.console.status("loading the device's part …"):
            device = assembly.build_device(needs.settings, needs.transport, needs.served, needs.tokenizer)
    except AirdraftError as error:
        yield checks.failed("device", error)
        return
    try:
        yield checks.served_tokenizer(device.language.digest, needs.served)
        yield from _link(needs, device)
        yield from _rehearsal(needs, device)
    except AirdraftError as error:
        yield checks.failed("session", error)
    finally:
        device.clock.close()


def _link(needs: Measuring, device: Device) -> Iterator[Check]:
    from orchestration.cli.checks import Check, Status
    from orchestration.cli.probe import probe

    contract = device.contract(device.language.prompt("a", raw=True))
    with needs.console.status("measuring the link …"):
        found = needs.runner.run(probe(needs.transport, contract, needs.served.context_limit))
    spread = f"{found.round_trip_s * 1e3:.1f} ms, ± {found.deviation_s * 1e3:.1f} (medians of small exchanges)"
    yield Check("round trip", Status.OK, spread)
    for name, rate in (("uplink", found.uplink), ("downlink", found.downlink)):
        if rate.bps is None:
            yield Check(name, Status.UNKNOWN, rate.why)
        else:
            yield Check(name, Status.OK, f"{rate.bps / 1e6:.1f} Mbit/s ({rate.why})")


def _rehearsal(needs: Measuring, device: Device) -> Iterator[Check]:
    from orchestration.cli import forecast
    from orchestration.cli.rehearsal import rehearse

    with needs.console.status("answering a few short prompts, streamed and drafted …"):
        found = needs.runner.run(rehearse(device))
    yield from forecast.measured(found)
    yield forecast.will_it_pay(found, needs.served.draft_limit)


def _show(console: Console, check: Check) -> None:
    line = Text(f"{check.status.value:>12}  ", style=STYLES[check.status.value])
    line.append(f"{check.name}: ", style="bold").append(check.found, style="default")
    if check.advice:
        line.append(f"  → {check.advice}", style="cyan")
    console.print(line, soft_wrap=True)
