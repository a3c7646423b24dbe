"""`airdraft link`: the shaping proxy alone, between any device and any verifier."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from orchestration.link import LinkSettings, ShapingProxy
    from orchestration.link.measurement import LinkMeasurement

REFRESH_S = 0.5
LINE_EVERY_S = 5.0


def link(
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="loopback, wifi, 5g, lte, intercontinental, satellite or bursty.")
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where devices connect; port 0: any free one.")
    ] = "127.0.0.1:50052",
    to: Annotated[str | None, typer.Option("--to", metavar="HOST:PORT", help="The verifier.")] = None,
    trace: Annotated[Path | None, typer.Option("--trace", metavar="FILE", help="CSV: time_ms,rtt_ms,sinr_db,rsrp_dbm.")] = None,
    bandwidth_mhz: Annotated[float | None, typer.Option("--bandwidth-mhz", help="Of the traced radio.", show_default="20")] = None,
    round_trip_ms: Annotated[float | None, typer.Option("--round-trip-ms", help="In place of the preset's.", show_default=False)] = None,
    jitter_ms: Annotated[
        float | None, typer.Option("--jitter-ms", help="Standard deviation of the round trip.", show_default=False)
    ] = None,
    uplink_mbps: Annotated[float | None, typer.Option("--uplink-mbps", help="In place of the preset's.", show_default=False)] = None,
    downlink_mbps: Annotated[float | None, typer.Option("--downlink-mbps", help="In place of the preset's.", show_default=False)] = None,
    loss: Annotated[float | None, typer.Option("--loss", help="Per message; a loss is a delay.", show_default=False)] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of jitter and loss.")] = 0,
    measure: Annotated[bool, typer.Option("--measure", help="Measure what the link delivers beside what was asked, and exit.")] = False,
) -> None:
    """Make a fast path behave like a radio link, both ways, until Ctrl-C."""
    from airdraft.errors import SettingsError
    from orchestration.cli.addresses import parse_address
    from orchestration.link import LinkSettings, ShapingProxy, build

    given = {
        "preset": preset, "trace": trace, "bandwidth_mhz": bandwidth_mhz, "round_trip_ms": round_trip_ms, "jitter_ms": jitter_ms,
        "uplink_mbps": uplink_mbps, "downlink_mbps": downlink_mbps, "loss": loss,
    }  # fmt: skip
    settings = LinkSettings.parse({**{name: value for name, value in given.items() if value is not None}, "seed": seed}, "options")
    channel = build(settings)
    console = Console(highlight=False)
    if measure:
        _measure(settings, console)
        return
    if to is None:
        raise SettingsError("nowhere to connect to: pass --to HOST:PORT (the verifier), or --measure to measure the link alone.")
    upstream = parse_address(to, "--to", lowest_port=1)
    proxy = ShapingProxy(upstream, channel, listen=parse_address(listen, "--listen"), seed=seed)
    with suppress(KeyboardInterrupt):  # how it is meant to end
        asyncio.run(_serve(proxy, settings, console))


async def _serve(proxy: ShapingProxy, settings: LinkSettings, console: Console) -> None:
    from orchestration.cli.addresses import written

    async with proxy:
        typer.echo(f"ready: {written(proxy.address)} to {written(proxy.upstream)} over {settings.name}")
        try:
            if console.is_terminal:
                with Live(_counters(proxy), console=console, transient=True, auto_refresh=False) as live:
                    while True:
                        await asyncio.sleep(REFRESH_S)
                        live.update(_counters(proxy), refresh=True)
            else:
                await _print_changes(proxy)
        finally:
            typer.echo(_line(proxy))


async def _print_changes(proxy: ShapingProxy) -> None:
    """A line every few seconds in which something happened."""
    said = _line(proxy)
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        if (line := _line(proxy)) != said:
            typer.echo(line)
            said = line


def _line(proxy: ShapingProxy) -> str:
    counters = proxy.counters
    return (
        f"up {counters.up.bytes} bytes in {counters.up.chunks} chunks, down {counters.down.bytes} in {counters.down.chunks}; "
        f"{counters.connections} connections, {proxy.open_connections} open, {counters.refused} refused"
    )


def _counters(proxy: ShapingProxy) -> Table:
    from orchestration.cli.bars import size

    state, counters = proxy.state(), proxy.counters
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "delivered", "chunks", "delay", "rate now"):
        table.add_column(heading, justify="right")
    for name, tally, leg in (("up", counters.up, state.up), ("down", counters.down, state.down)):
        rate = "outage" if leg.outage else f"{leg.rate_bps / 1e6:.1f} Mbit/s"
        table.add_row(name, size(tally.bytes), str(tally.chunks), f"{leg.delay_s * 1e3:.1f} ms", rate)
    table.caption = f"{proxy.open_connections} open of {counters.connections} connections, {counters.refused} refused; Ctrl-C to stop"
    return table


def _measure(settings: LinkSettings, console: Console) -> None:
    from orchestration.link import build
    from orchestration.link.measurement import Plan, measure

    found = asyncio.run(measure(build(settings), Plan(seed=settings.seed)))
    console.print(measured_table(settings.name, found))
    if found.is_as_asked():
        console.print("delivered as asked (within 2 ms or 5 %)", style="green")
        return
    console.print("not as asked: a busy machine delays what passes; measure again when it has less to do", style="yellow")
    raise typer.Exit(1)


def measured_table(name: str, found: LinkMeasurement) -> Table:
    """What was asked of the link beside what it delivered."""
    table = Table(title=name, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in ("", "asked", "delivered", ""):
        table.add_column(heading, justify="right" if heading else "left")
    steady, varied = found.steady, found.varied
    own_s = steady.direct_p50_s
    table.add_row("round trip p50", _ms(steady.asked_p50_s), _ms(steady.p50_s - own_s), f"without this machine's own {_ms(own_s)}")
    for direction, throughput in (("uplink", found.uplink), ("downlink", found.downlink)):
        table.add_row(direction, _mbps(throughput.asked_bps), _mbps(throughput.delivered_bps), "")
    table.add_row("with jitter and loss, p50 / p95", "", f"{_ms(varied.p50_s - own_s)} / {_ms(varied.p95_s - own_s)}", "")
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _mbps(rate_bps: float) -> str:
    return "unlimited" if rate_bps == float("inf") else f"{rate_bps / 1e6:.1f} Mbit/s"
