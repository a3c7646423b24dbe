"""What a response cost: a table for people, an object for programs, both from the session's own statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from airdraft.messages import Contract
from edge.seams import Origin
from edge.statistics import ResponseStatistics


@dataclass(frozen=True, slots=True)
class Response:
    """One response, over or cut short. `finish`: stop_token, length, capacity, interrupted or failed."""

    contract: Contract
    tokens: tuple[int, ...]  # verified ones
    text: str
    statistics: ResponseStatistics
    finish: str


def finish_of(contract: Contract, tokens: Sequence[int]) -> str:
    """Why a response that ended in good order ended."""
    if tokens and tokens[-1] in contract.stop_tokens:
        return "stop_token"
    return "length" if len(tokens) >= contract.max_new_tokens else "capacity"


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of them do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def rows(statistics: ResponseStatistics) -> list[tuple[str, str]]:
    """(what, figure) pairs for a table; what does not apply is a dash."""
    drafted = statistics.rounds > 0
    gaps = statistics.gaps_s
    by_position = " ".join(f"{share:.2f}" for share in statistics.acceptance_by_position)
    acceptance = f"{statistics.acceptance_rate:.0%} of {statistics.drafted} drafted   by position: {by_position or '—'}"
    return [
        ("tokens", str(statistics.tokens)),
        ("accepted per round", f"{statistics.mean_accepted_length:.2f}" if drafted else "—"),
        ("tokens per round (accepted + 1)", f"{statistics.tokens_per_round:.2f}" if drafted else "—"),
        ("acceptance rate", acceptance if statistics.drafted else "—"),
        ("rounds", str(statistics.rounds)),
        ("bytes up / down per token", f"{statistics.bytes_up_per_token:.1f} / {statistics.bytes_down_per_token:.1f}"),
        ("messages up / down", f"{statistics.traffic.messages_up} / {statistics.traffic.messages_down}"),
        ("time to first token", milliseconds(statistics.time_to_first_token_s) if statistics.tokens else "—"),
        ("time per output token", milliseconds(statistics.time_per_output_token_s) if statistics.tokens > 1 else "—"),
        ("pauses between bursts p50 / p95", f"{milliseconds(percentile(gaps, 0.5))} / {milliseconds(percentile(gaps, 0.95))}"),
        ("target seconds per token", f"{statistics.target_s_per_token:.3f} s" if statistics.tokens else "—"),
        ("reconnects", str(statistics.reconnects)),
    ]


def table(columns: dict[str, ResponseStatistics]) -> Table:
    """Responses side by side; with one, its figures alone."""
    shown = Table(box=None, pad_edge=False, show_header=len(columns) > 1, header_style="bold")
    shown.add_column("")
    for name in columns:
        shown.add_column(name, justify="right" if len(columns) > 1 else "left")
    listed = [rows(statistics) for statistics in columns.values()]
    for line in zip(*listed, strict=True):
        shown.add_row(line[0][0], *(figure.split("   ")[0] if len(columns) > 1 else figure for _, figure in line))
    return shown


def milliseconds(seconds: float | None) -> str:
    """Seconds as milliseconds for people."""
    if seconds is None:
        return "—"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"


def as_json(response: Response) -> dict[str, Any]:
    """The last line of `--json`: everything that the table shows, and what the response was asked for with. Times in seconds."""
    statistics, contract = response.statistics, response.contract
    gaps = statistics.gaps_s
    return {
        "type": "summary",
        "finish": response.finish,
        "text": response.text,
        "model": contract.model,
        "prompt_tokens": len(contract.prompt),
        "max_new_tokens": contract.max_new_tokens,
        "sampling": contract.sampling.model_dump(),
        "rule": {"name": contract.rule.name, "parameters": dict(contract.rule.parameters)},
        "tokens": statistics.tokens,
        "origins": {origin.value: statistics.origins[origin] for origin in Origin},
        "rounds": statistics.rounds,
        "accepted_per_round": statistics.mean_accepted_length,
        "tokens_per_round": statistics.tokens_per_round,
        "acceptance_rate": statistics.acceptance_rate if statistics.drafted else None,
        "acceptance_by_position": list(statistics.acceptance_by_position),
        "drafted": statistics.drafted,
        "wasted": statistics.wasted,
        "bytes_up_per_token": statistics.bytes_up_per_token,
        "bytes_down_per_token": statistics.bytes_down_per_token,
        "messages_up": statistics.traffic.messages_up,
        "messages_down": statistics.traffic.messages_down,
        "time_to_first_token_s": statistics.time_to_first_token_s if statistics.tokens else None,
        "time_per_output_token_s": statistics.time_per_output_token_s if statistics.tokens > 1 else None,
        "pause_p50_s": percentile(gaps, 0.5),
        "pause_p95_s": percentile(gaps, 0.95),
        "target_s_per_token": statistics.target_s_per_token,
        "draft_s": statistics.draft_s,
        "reconnects": statistics.reconnects,
        "duration_s": statistics.duration_s,
    }
