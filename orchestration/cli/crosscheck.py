"""`airdraft crosscheck`: the same responses for real and in virtual time, link by link; do the two agree?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from orchestration.cli import options

if TYPE_CHECKING:
    from orchestration.simulation.crosscheck import Comparison, Parts

QUESTIONS = (
    "What is the capital of France? Repeat the question in your answer.",
    "List the numbers from one to twenty in words, one on each line.",
    "Write a short poem about a river, and use the word river in every line.",
    "Explain in three sentences what a compiler does, and in three more what an interpreter does.",
)


def crosscheck(
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The target.")] = "smollm2-135m",
    drafter: Annotated[str, typer.Option("--drafter", metavar="KIND", help="lookup, random or model:NAME.")] = "lookup",
    links: Annotated[list[str] | None, typer.Option("--link", metavar="NAME", help="A preset; may be repeated.")] = None,
    draft_length: Annotated[int, typer.Option("--draft-length", min=0, max=16, help="Tokens of a draft.")] = 4,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=2, max=4096, help="Of each of four responses.")] = 48,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures for programs.")] = False,
) -> None:
    """Run four responses through the emulated link and again in virtual time; exit code 1 when they differ by more than 15 %."""
    from orchestration import assembly
    from orchestration.simulation.crosscheck import LINKS, TOLERANCE
    from orchestration.simulation.crosscheck import crosscheck as compare

    assembly.wait_passively()
    console = Console(stderr=True, highlight=False)
    with console.status("loading …") as status:
        parts = load(options.SettingsFlags(model, dtype, None, threads), drafter, draft_length, max_new_tokens)
        found = compare(parts, links or LINKS, status.update)
    if as_json:
        typer.echo(json.dumps([figures(comparison) for comparison in found]))
    else:
        Console(highlight=False).print(
            _table(found, f"time per output token, {model} with {drafter}: simulated beside real (± {TOLERANCE:.0%})")
        )
    if not all(comparison.agrees for comparison in found):
        raise typer.Exit(1)


def load(flags: options.SettingsFlags, drafter: str, draft_length: int, max_new_tokens: int) -> Parts:
    """What both sides run. Raises SettingsError or ModelError."""
    from airdraft import PROTOCOL_VERSION
    from airdraft.messages import Contract
    from cloud.target import TransformersTarget
    from orchestration import assembly
    from orchestration.simulation.crosscheck import Parts
    from orchestration.simulation.verifier import Served

    settings = flags.over(None)
    folder, model = assembly.load_model(settings)
    language = assembly.load_language(folder)
    prompts = [language.prompt(question) for question in QUESTIONS]
    target = TransformersTarget(model, slots=1, capacity=_rounded_up(max(map(len, prompts)) + max_new_tokens + 64))
    device = options.DeviceFlags(drafter=drafter, dtype=flags.dtype, threads=flags.threads)
    contracts = tuple(
        Contract(PROTOCOL_VERSION, settings.model, language.digest, target.vocabulary_size, prompt, max_new_tokens=max_new_tokens)
        for prompt in prompts
    )
    loaded = assembly.load_drafter(options.device_settings(device).drafter)
    return Parts(Served(target, settings.model, language.digest), loaded.drafter, contracts, draft_length)


def figures(comparison: Comparison) -> dict[str, str | float | int | bool]:
    """One link's figures by name, times in milliseconds."""
    return {
        "link": comparison.link,
        "simulated_ms": comparison.simulated.token_s * 1e3,
        "real_ms": comparison.real.token_s * 1e3,
        "error": comparison.error,
        "agrees": comparison.agrees,
        "rounds_simulated": comparison.simulated.rounds,
        "rounds_real": comparison.real.rounds,
        "forward_simulated_ms": comparison.simulated.forward_s * 1e3,
        "forward_real_ms": comparison.real.forward_s * 1e3,
        "handling_ms": comparison.handling_s * 1e3,
    }


def _table(found: list[Comparison], title: str) -> Table:
    table = Table("link", "simulated", "real", "off", "rounds", "verify: simulated", "real", title=title)
    for comparison in found:
        simulated, real = comparison.simulated, comparison.real
        times = [f"{seconds * 1e3:.1f} ms" for seconds in (simulated.token_s, real.token_s, simulated.forward_s, real.forward_s)]
        off = f"[{'green' if comparison.agrees else 'bold red'}]{comparison.error:+.1%}[/]"
        table.add_row(comparison.link, *times[:2], off, f"{simulated.rounds} / {real.rounds}", *times[2:])
    return table


def _rounded_up(tokens: int) -> int:
    return -(-tokens // 256) * 256
