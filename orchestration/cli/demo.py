"""`airdraft demo`: a verifier, an emulated link and a device on this machine, and one answer both ways, streamed and drafted."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestration.cli import options

if TYPE_CHECKING:
    from edge.settings import DeviceSettings
    from orchestration.assembly import Device, LoadedDrafter
    from orchestration.cli.printing import Printer
    from orchestration.cli.summary import Response
    from orchestration.link import Address, LinkSettings

PROMPT = "Write a Python function that checks whether a string is a palindrome. Answer with code and one sentence."
WARM_UP_PROMPT = "Say hello."
WARM_UP_TOKENS = 6
SLOTS = 2


def demo(
    link: Annotated[str, typer.Option("--link", metavar="PRESET", help="The emulated link: loopback, wifi, 5g, lte, …")] = "5g",
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Target, in the cloud.")] = options.DEFAULT_TARGET,
    drafter: options.Drafter = None,
    draft_length: options.DraftLength = None,
    temperature: options.Temperature = None,
    seed: options.Seed = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", metavar="N", help="Longest answer.")] = 64,
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What to ask.", show_default=False)] = PROMPT,
    raw: Annotated[bool, typer.Option("--raw", help="The prompt as it stands, without the chat template.")] = False,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
) -> None:
    """See it work: fetch two models, emulate a link, answer one prompt streamed and drafted, check that both texts are equal, compare."""
    from airdraft import models
    from orchestration import assembly
    from orchestration.cli.bars import watched
    from orchestration.cli.verifier_process import VerifierProcess
    from orchestration.link import LinkSettings

    flags = options.DeviceFlags(
        drafter=drafter, draft_length=draft_length, temperature=temperature, seed=seed, max_new_tokens=max_new_tokens, dtype=dtype,
        threads=threads,
    )  # fmt: skip
    settings = options.device_settings(flags)
    show = Demonstration(settings, LinkSettings.parse({"preset": link}, "options"), prompt, raw, Console(highlight=False))
    assembly.wait_passively()
    with watched(Console(stderr=True, highlight=False)) as progress:
        models.ensure(model, progress)
        if settings.drafter.model is not None:
            models.ensure(settings.drafter.model.model, progress)
    with VerifierProcess(_serving(model, dtype, threads)) as process:
        with show.console.status(f"loading {model} in the cloud's process and the drafter in the device's …"):
            loaded = assembly.load_drafter(settings.drafter)
            upstream = process.wait_until_ready()
        same = asyncio.run(show.run(loaded, upstream))
    if not same:
        raise typer.Exit(1)


def _serving(model: str, dtype: str | None, threads: int | None) -> list[str]:
    """No prefix is kept between responses, so that the second one has no advantage."""
    arguments = ["--model", model, "--slots", str(SLOTS), "--no-share-prefixes"]
    arguments += ["--dtype", dtype] if dtype else []
    return arguments + (["--threads", str(threads)] if threads is not None else [])


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One prompt, answered both ways over one emulated link."""

    settings: DeviceSettings
    link: LinkSettings
    prompt: str
    raw: bool
    console: Console

    async def run(self, loaded: LoadedDrafter, upstream: Address) -> bool:
        """Answer, show, compare; whether both texts were the same."""
        from edge.grpc_transport import GrpcTransport
        from orchestration import assembly
        from orchestration.cli.addresses import written
        from orchestration.link import ShapingProxy, build

        async with ShapingProxy(upstream, build(self.link), seed=self.link.seed) as proxy:
            transport = GrpcTransport(written(proxy.address))
            try:
                device = assembly.assemble_device(self.settings, loaded, transport, await transport.describe())
                try:
                    return await self._compare(device)
                finally:
                    device.clock.close()
            finally:
                await transport.close()

    async def _compare(self, device: Device) -> bool:
        from orchestration.cli.printing import Coloured, Counting, Plain, legend

        console = self.console
        self._introduce(device)
        with console.status("warming up, both ways …") as status:
            for schedule in ("stream", "sequential"):
                await self._answer(device, schedule, Counting(status, "warming up"), WARM_UP_PROMPT, WARM_UP_TOKENS)
        with console.status("streaming …") as status:
            counting = Counting(status, "the cloud alone, streaming")
            streamed = await self._answer(device, "stream", counting, self.prompt, self.settings.max_new_tokens)
        if console.is_terminal:
            console.print(legend())
        printer: Printer = Coloured(console) if console.is_terminal else Plain(sys.stdout)
        drafted = await self._answer(device, "sequential", printer, self.prompt, self.settings.max_new_tokens)
        return self._conclude(device, streamed, drafted)

    def _introduce(self, device: Device) -> None:
        drafter = self.settings.drafter
        name = drafter.model.model if drafter.model is not None else drafter.kind
        self.console.print(f"cloud: {device.served.model}   device: {name}, drafts of {self.settings.draft_length}   link: {self._link()}")
        self.console.print(f"prompt: {self.prompt}\n", style="bold", markup=False)

    def _link(self) -> str:
        conditions = self.link.phases()[0].conditions
        if not conditions.round_trip_s:
            return self.link.name
        return (
            f"{self.link.name}, emulated ({conditions.round_trip_s * 1e3:.0f} ms round trip, "
            f"{conditions.uplink_bps / 1e6:.0f} Mbit/s up, {conditions.downlink_bps / 1e6:.0f} down)"
        )

    async def _answer(self, device: Device, schedule: str, printer: Printer, prompt: str, tokens: int) -> Response:
        from orchestration.cli.answer import Answer

        ids = device.language.prompt(prompt, self.raw)
        session = device.session(schedule=schedule, max_new_tokens=tokens)
        return await Answer(session, device.contract(ids, max_new_tokens=tokens), device.language, printer).run()

    def _conclude(self, device: Device, streamed: Response, drafted: Response) -> bool:
        from orchestration.cli import comparison, summary

        console = self.console
        console.print()
        console.print(summary.table({"drafted": drafted.statistics, "streamed": streamed.statistics}))
        console.print()
        difference = comparison.first_difference(drafted.tokens, streamed.tokens)
        if difference is not None:
            console.print(
                f"THE TEXTS DIFFER from token {difference} on. They must not: this is a fault; please report it.", style="bold red"
            )
            console.print(f"streamed: {streamed.text}", markup=False)
            return False
        console.print(f"Both texts are identical, token for token ({len(drafted.tokens)} of {len(streamed.tokens)}).", style="green")
        for sentence in comparison.sentences(streamed.statistics, drafted.statistics, device.meter.round_trip_s):
            console.print(sentence)
        return True
