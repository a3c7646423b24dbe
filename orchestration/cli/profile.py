"""`airdraft profile`: what this machine takes for drafting, verifying and prefilling, as a file that simulations read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from orchestration.cli import options

if TYPE_CHECKING:
    from orchestration.simulation.measure import Measurable, Plan
    from orchestration.simulation.profile import Cost, MachineProfile

PROMPT = "Write a function that sorts a list of numbers, and explain in a few sentences how it works and how long it takes. "
KINDS = ("draft", "verify", "prefill")


def profile(
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="The target to measure; left out: none.")] = None,
    drafter: Annotated[str | None, typer.Option("--drafter", metavar="KIND", help="model:NAME or lookup; left out: none.")] = None,
    dtype: options.Dtype = None,
    device: options.Hardware = None,
    threads: options.Threads = None,
    context: Annotated[int, typer.Option("--context", min=16, max=100_000, help="Tokens that every sequence holds.")] = 200,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, max=1000, help="Of every point; medians count.")] = 9,
    name: Annotated[str, typer.Option("--name", help="What to call this machine.")] = "here",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.toml", help="Write the profile there.")] = None,
) -> None:
    """Measure this machine: a drafter's step, a verification by tokens and sequences, a prefill; fitted, with residuals."""
    from airdraft.errors import SettingsError
    from orchestration import assembly
    from orchestration.simulation.measure import Plan, measured_profile

    if model is None and drafter is None:
        raise SettingsError("nothing to measure: name a target with --model, a drafter with --drafter, or both.")
    assembly.wait_passively()
    console = Console(highlight=False)
    plan = Plan(context=context, repetitions=repetitions)
    flags = options.SettingsFlags(model, dtype, device, threads)
    with console.status("loading …") as status:
        subject = measurable(name, flags, drafter, plan)
        status.update("measuring …")
        found = measured_profile(subject, plan)
    _show(console, found)
    if out is not None:
        found.write(out)
        typer.echo(f"written: {out}")


def measurable(name: str, flags: options.SettingsFlags, drafter: str | None, plan: Plan) -> Measurable:
    """The models to measure, loaded. Raises SettingsError or ModelError."""
    from airdraft import PROTOCOL_VERSION
    from airdraft.messages import Contract
    from airdraft.models import vocabulary_size
    from orchestration import assembly
    from orchestration.assembly import LoadedDrafter
    from orchestration.simulation.measure import Measurable

    target, folder = None, None
    if flags.model is not None:
        from cloud.target import TransformersTarget

        folder, model = assembly.load_model(flags.over(None))
        room = plan.context + max(*plan.prefill_tokens, *plan.verify_tokens)
        target = TransformersTarget(model, slots=max(plan.sequences), capacity=room)
    loaded: LoadedDrafter | None = None
    if drafter is not None:
        device_flags = options.DeviceFlags(drafter=drafter, dtype=flags.dtype, hardware=flags.hardware, threads=flags.threads)
        loaded = assembly.load_drafter(options.device_settings(device_flags).drafter)
    folder = folder or (loaded.folder if loaded else None)
    prompt = assembly.load_language(folder).prompt(PROMPT, raw=True) if folder else tuple(range(1, 25))
    contract = Contract(PROTOCOL_VERSION, "", b"", vocabulary_size(folder) if folder else 1000, prompt)
    models = ", ".join(part for part in (flags.model, drafter) if part)
    return Measurable(name, contract, models, target, loaded.drafter if loaded else None)


def _show(console: Console, found: MachineProfile) -> None:
    columns = ("", "fixed ms", "per token ms", "per sequence ms", "rows padded to", "off: median", "worst")
    table = Table(*columns, title=f"{found.name}: {found.model}")
    for kind in KINDS:
        cost: Cost | None = getattr(found, kind)
        if cost is not None and cost.residuals is not None:
            times = (f"{seconds * 1e3:.3f}" for seconds in (cost.fixed_s, cost.per_token_s, cost.per_sequence_s))
            shares = (f"{share:.1%}" for share in (cost.residuals.median_share, cost.residuals.worst_share))
            table.add_row(kind, *times, str(cost.rows_multiple), *shares)
    console.print(table)
