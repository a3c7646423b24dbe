"""`airdraft simulate`: one scenario on virtual time, and its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

INTERVALS = (
    ("accepted length", "accepted_length", 1.0, ""),
    ("tokens per round", "tokens_per_round", 1.0, ""),
    ("acceptance rate", "acceptance_rate", 1.0, ""),
    ("rounds per response", "rounds_per_response", 1.0, ""),
    ("time to first token", "ttft_s", 1e3, "ms"),
    ("time per output token", "tpot_s", 1e3, "ms"),
    ("whole response", "response_s", 1.0, "s"),
    ("target's time per token", "target_s_per_token", 1e3, "ms"),
    ("bytes up per token", "bytes_up_per_token", 1.0, ""),
    ("bytes down per token", "bytes_down_per_token", 1.0, ""),
    ("wasted drafts per token", "wasted_drafts_per_token", 1.0, ""),
)
PLAIN = (
    ("gaps p50 / p95 / p99", ("gap_p50_s", "gap_p95_s", "gap_p99_s"), 1e3, "ms"),
    ("TTFT p50 / p95 / p99", ("ttft_p50_s", "ttft_p95_s", "ttft_p99_s"), 1e3, "ms"),
    ("throughput", ("tokens_per_s",), 1.0, "tokens/s"),
    ("queue per round, p95", ("queue_s_per_round", "queue_p95_s"), 1e3, "ms"),
    ("sessions per forward", ("batch_mean",), 1.0, ""),
    ("verifiers computing", ("target_busy",), 1e2, "%"),
    ("fairness (Jain)", ("fairness",), 1.0, ""),
    ("cost model: per token", ("predicted_tpot_s",), 1e3, "ms"),
    ("cost model: streaming", ("predicted_stream_tpot_s",), 1e3, "ms"),
    ("cost model: best draft length", ("predicted_best_draft_length",), 1.0, ""),
)


def simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The scenario, without a \\[grid].")],
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as in link.preset=lte; may be repeated.")
    ] = None,
    journal: Annotated[Path | None, typer.Option("--journal", metavar="FILE", help="Keep every round.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the row of the summary as JSON.")] = False,
) -> None:
    """Run a scenario on virtual time and print what it came to."""
    from airdraft.errors import SettingsError
    from orchestration.experiment import prepare, run_cell
    from orchestration.materials import Materials
    from orchestration.scenario import changed, read_values
    from orchestration.sweep.grid import single

    cell = single(changed(read_values(file), dict(map(parse_change, change or ())), Path.cwd()), str(file))
    result = run_cell(prepare(cell, Materials().of(cell.scenario)), keep_journal=journal is not None)
    if journal is not None and result.journal is not None:
        try:
            journal.write_bytes(result.journal)
        except OSError as error:
            raise SettingsError(f"{journal}: {error}. Choose a file that can be written.") from error
    if as_json:
        typer.echo(json.dumps(result.row))
    else:
        Console(highlight=False).print(table(result.row))
    if result.row["failed"]:
        reasons = sorted({row["failure"] for row in result.responses if row["failure"]})
        typer.echo(f"{result.row['failed']} responses failed: {reasons[0]}", err=True)
        raise typer.Exit(1)


def parse_change(text: str) -> tuple[str, Any]:
    """A dotted key and its value, which is read as TOML would, and as plain text if it is none. Raises SettingsError without a '='."""
    import tomllib

    from airdraft.errors import SettingsError

    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise SettingsError(f"--set {text!r} cannot be used; expected KEY=VALUE, as in link.round_trip_ms=40.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def table(row: dict[str, Any]) -> Table:
    """The figures for a reader; what a scenario has none of is left out."""
    machines = f"device {row['device_machine']} ({row['device_source']}), verifier {row['verifier_machine']} ({row['verifier_source']})"
    amount = f"{row['responses']} responses, {row['tokens']} tokens"
    title = f"{row['scenario']}: {row['policy']} over {row['link']}, simulated\n{machines}\n{amount}"
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in ("", "", "95 % interval", ""):
        shown.add_column(heading, justify="right" if heading else "left")
    for words, name, factor, unit in INTERVALS:
        if row.get(name) is not None:
            low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
            interval = "" if low is None or high is None else f"{low * factor:.4g} … {high * factor:.4g}"
            shown.add_row(words, f"{row[name] * factor:.4g}", interval, unit)
    for words, names, factor, unit in PLAIN:
        values = [row.get(name) for name in names]
        if any(value is not None for value in values):
            shown.add_row(words, " / ".join("-" if value is None else f"{value * factor:.4g}" for value in values), "", unit)
    return shown
