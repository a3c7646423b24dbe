"""`airdraft serve`: a verifier on one port, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from orchestration.cli import options

if TYPE_CHECKING:
    from orchestration.assembly import Cloud, CloudSettings

READY = "ready:"  # the line that says so begins with this; programs wait for it


@dataclass(frozen=True, slots=True)
class ServeFlags:
    """The flags that are the verifier's and the server's own; None where one was not given."""

    listen: str | None = None
    slots: int | None = None
    context: int | None = None
    share_prefixes: bool | None = None
    certificate: Path | None = None
    private_key: Path | None = None


def serve(
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Target.", show_default=options.DEFAULT_TARGET)] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Port 0: any free one.", show_default="127.0.0.1:50051")
    ] = None,
    dtype: options.Dtype = None,
    device: options.Hardware = None,
    threads: options.Threads = None,
    slots: Annotated[int | None, typer.Option("--slots", help="Sequences kept in memory at once.", show_default="8")] = None,
    context: Annotated[int | None, typer.Option("--context", help="Longest prompt and response together.", show_default="4096")] = None,
    share_prefixes: Annotated[
        bool | None, typer.Option("--share-prefixes/--no-share-prefixes", help="Start a session from what is in memory of its prompt.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", metavar="FILE", help="PEM chain; serve over TLS.")] = None,
    private_key: Annotated[Path | None, typer.Option("--private-key", metavar="FILE", help="PEM key of the certificate.")] = None,
    settings: options.SettingsFile = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input closes.")] = False,
) -> None:
    """Serve a model as verifier. Drains on Ctrl-C or SIGTERM: what runs may finish; a second one stops at once."""
    from orchestration import assembly
    from orchestration.cli.bars import watched

    if with_parent:
        threading.Thread(target=_stop_when_orphaned, daemon=True).start()
    flags = ServeFlags(listen, slots, context, share_prefixes, certificate, private_key)
    chosen = cloud_settings(flags, options.SettingsFlags(model, dtype, device, threads, settings))
    console = Console(stderr=True, highlight=False)
    assembly.wait_passively()
    with watched(console) as progress:
        assert chosen.verifier.model is not None
        label = f"loading {chosen.verifier.model.model}"
        progress.started(label, None)
        cloud = assembly.build_cloud(chosen, progress)
        progress.finished()
    try:
        asyncio.run(_run(cloud, chosen, console))
    finally:
        cloud.clock.close()


def cloud_settings(flags: ServeFlags, model: options.SettingsFlags) -> CloudSettings:
    """What the settings file and the flags add up to. Raises SettingsError."""
    from orchestration.assembly import CloudSettings
    from orchestration.cli.addresses import parse_address

    base = CloudSettings.read(model.settings) if model.settings else CloudSettings()
    values: dict[str, Any] = base.model_dump(exclude_unset=True)
    verifier = values.setdefault("verifier", {})
    server = values.setdefault("server", {})
    verifier["model"] = model.over(base.verifier.model).model_dump(exclude_unset=True)
    verifier.update(_given(slots=flags.slots, context=flags.context, share_prefixes=flags.share_prefixes))
    server.update(_given(certificate_chain=flags.certificate, private_key=flags.private_key))
    if flags.listen is not None:
        address = parse_address(flags.listen, "--listen")
        server.update(host=address.host, port=address.port)
    return CloudSettings.parse(values, "options")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


async def _run(cloud: Cloud, settings: CloudSettings, console: Console) -> None:
    from orchestration.cli.addresses import written
    from orchestration.link import Address

    try:
        port = await cloud.server.start()
        typer.echo(f"{READY} {written(Address(settings.server.host, port))} serves {cloud.model}, context {cloud.context}")
        console.print("Ctrl-C to stop", style="dim")
        await cloud.server.run_until_signal()
    finally:
        await cloud.verifier.close()
    console.print("stopped", style="dim")


def _stop_when_orphaned() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
