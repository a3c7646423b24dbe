"""`airdraft record`: what a pair of models says to a file of prompts, kept so that experiments need no models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from orchestration.cli.options import DEFAULT_DRAFTER, DEFAULT_TARGET, Dtype, Hardware, Threads

if TYPE_CHECKING:
    from orchestration.recording.prompts import PromptSet
    from orchestration.recording.recorder import RecordingSettings, Told
    from orchestration.recording.recording import Recording

LINE_EVERY_S = 10.0
SHOWN_LENGTH = 4  # draft length of the summary


def record(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="JSON lines with turns (Spec-Bench), question (GSM8K) or prompt (HumanEval).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The recording; its name ends in .msgpack.z.")],
    target: Annotated[str, typer.Option("--target", metavar="NAME", help="The target.")] = DEFAULT_TARGET,
    drafter: Annotated[str, typer.Option("--drafter", metavar="NAME", help="The drafting model.")] = DEFAULT_DRAFTER.removeprefix("model:"),
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="So many prompts, evenly spaced.", show_default="all")] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", metavar="N", help="Longest response.")] = 128,
    draft_length: Annotated[int, typer.Option("--draft-length", metavar="K", help="Longest draft, from every position.")] = 16,
    temperature: Annotated[float, typer.Option("--temperature", help="0: always the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", help="1: off.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampling.")] = 0,
    context: Annotated[int, typer.Option("--context", help="Longest prompt and response.")] = 2048,
    batch: Annotated[int, typer.Option("--batch", help="Responses decoded at once; changes the time, never the tokens.")] = 16,
    raw: Annotated[bool, typer.Option("--raw", help="The prompts as they stand, without the chat template.")] = False,
    licence: Annotated[str | None, typer.Option("--licence", help="Of the prompts.", show_default="known for the three sets")] = None,
    dtype: Dtype = None,
    hardware: Hardware = None,
    threads: Threads = None,
) -> None:
    """Record the target's responses, and what the drafter would draft from every position of them. Cut short, it goes on where it was."""
    from airdraft.settings import ModelSettings, Sampling
    from orchestration.recording.prompts import read_prompts
    from orchestration.recording.recorder import RecordingSettings

    given = {"dtype": dtype, "device": hardware, "threads": threads}
    common = {name: value for name, value in given.items() if value is not None}
    values = {
        "target": ModelSettings.parse({"model": target, **common}, "options"),
        "drafter": ModelSettings.parse({"model": drafter, **common}, "options"),
        "sampling": Sampling.parse({"temperature": temperature, "top_p": top_p, "seed": seed}, "options"),
        "max_new_tokens": max_new_tokens, "draft_length": draft_length, "context": context, "batch": batch,
        "template": "raw" if raw else "chat",
    }  # fmt: skip
    console = Console(stderr=True, highlight=False)
    recording = _record(read_prompts(prompts, limit, licence), output, RecordingSettings.parse(values, "options"), console)
    console.print(summary(recording))
    console.print(f"{output}: {output.stat().st_size / 1e3:.0f} kB, SHA-256 of its content {recording.digest}", soft_wrap=True)


def _record(prompts: PromptSet, output: Path, settings: RecordingSettings, console: Console) -> Recording:
    from orchestration.assembly import set_threads
    from orchestration.cli.bars import watched
    from orchestration.recording.recorder import header_of, load_pair, record, tokenize

    with watched(console) as progress:
        set_threads(settings.target.threads)
        pair, folder = load_pair(settings, progress)
    sources = tokenize(prompts.prompts, folder, settings.template)
    with _counted(console) as told:
        return record(pair, header_of(pair, settings, prompts), sources, output, told)


@contextmanager
def _counted(console: Console) -> Iterator[Told]:
    """Prompts done: as a bar on a terminal, elsewhere as a line now and then."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("recording", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(console: Console) -> Told:
    began_s = said_s = time.monotonic()
    first: int | None = None

    def told(done: int, total: int) -> None:
        nonlocal said_s, first
        now_s = time.monotonic()
        first = done if first is None else first
        if done in (first, total) or now_s - said_s >= LINE_EVERY_S:
            said_s = now_s
            left_s = (now_s - began_s) / (done - first) * (total - done) if done > first else None
            console.print(f"{done} of {total} prompts recorded" + (f", about {left_s:.0f} s left" if left_s else ""), soft_wrap=True)

    return told


def summary(recording: Recording) -> Table:
    """How well the drafter did, by task."""
    from orchestration.recording.acceptance import acceptance, by_task

    table = Table("task", "prompts", "tokens", "agreement", f"accepted per round, k = {SHOWN_LENGTH}", "tokens per round")
    rows = by_task(recording.entries, SHOWN_LENGTH)
    if len(rows) > 1:
        rows["all"] = acceptance(recording.entries, SHOWN_LENGTH)
    for task, row in rows.items():
        figures = (f"{row.agreement:.3f}", f"{row.accepted_length:.2f}", f"{row.tokens_per_round:.2f}")
        table.add_row(task, str(row.prompts), str(row.tokens), *figures)
    return table
