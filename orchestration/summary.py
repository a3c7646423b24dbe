"""The summary of a run: the columns of its two Parquet tables, in the order of the files, and how they are written and read.

`summary.parquet` has a row per cell (one set of conditions and one policy), `responses.parquet` a row per response of every cell. This is
the one place that says what a column means; it knows nothing of how the figures came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airdraft.errors import SettingsError

if TYPE_CHECKING:
    import pyarrow

SUMMARY_FILE = "summary.parquet"
RESPONSES_FILE = "responses.parquet"
FORMAT = "airdraft-summary"
VERSION = 1

TEXT, REAL, WHOLE, TRUTH, REALS, WHOLES = "text", "real", "whole", "truth", "reals", "wholes"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. A value may be missing (null) wherever it has no meaning, such as the round trip of a trace."""

    name: str
    kind: str
    meaning: str


def _measured(name: str, meaning: str) -> tuple[Column, Column, Column]:
    """A figure and its 95 % bootstrap interval over prompts (over devices in a fleet), with a fixed seed."""
    return (
        Column(name, REAL, meaning),
        Column(f"{name}_low", REAL, f"lower end of the 95 % interval of {name}"),
        Column(f"{name}_high", REAL, f"upper end of the 95 % interval of {name}"),
    )


IDENTITY = (
    Column("cell", TEXT, "digest of the cell's settings, of the files they name and of the software's version"),
    Column("environment", TEXT, "digest of the same without the policy: rows that share it differ in their policy alone"),
    Column("linkless", TEXT, "digest of the same without policy and link: joins local and device rows to the environments they belong to"),
    Column("scenario", TEXT, "the scenario's name"),
    Column("kind", TEXT, "stream, device, sequential or local: the baselines; policy: anything else"),
    Column("policy", TEXT, "for a legend, such as 'sequential k=4'"),
    Column("best_fixed", TRUTH, "of its environment's rows of this kind, the fixed draft length with the least time per output token"),
    Column("simulated", TRUTH, "on a virtual clock with profiles for machines; else measured in real time"),
    Column("axes", TEXT, "JSON: the grid's dotted keys and this cell's values"),
    Column("settings", TEXT, "JSON: the whole scenario of this cell; files by their names, whose digests stand in run.json"),
    Column("version", TEXT, "of airdraft"),
)

CONDITIONS = (
    Column("link", TEXT, "preset's or trace's name; 'none' when no link is crossed; 'as it is' when measured and none was emulated"),
    Column("channel", TEXT, "kind of channel"),
    Column("round_trip_ms", REAL, "as set, by the preset if need be; null for a channel without one round trip"),
    Column("jitter_ms", REAL, "standard deviation of the round trip; null likewise"),
    Column("uplink_mbps", REAL, "null: unlimited, or varying"),
    Column("downlink_mbps", REAL, "null: unlimited, or varying"),
    Column("loss", REAL, "per message and direction; null likewise"),
    Column("device_machine", TEXT, "name of the device's profile; measured: what they run on"),
    Column("device_source", TEXT, "measured, cited or assumed: where its figures come from"),
    Column("draft_step_s", REAL, "one step of the drafter on that machine; measured: the median; null where nothing was drafted"),
    Column("verifier_machine", TEXT, "name of the verifier's profile; measured: what they run on"),
    Column("verifier_source", TEXT, "measured, cited or assumed"),
    Column("target_token_s", REAL, "the target's forward over one row: its time per token when it decodes alone; measured: streams only"),
    Column("drafter", TEXT, "recording, model, lookup or random"),
    Column("stopping", TEXT, "the stopping rule"),
    Column("schedule", TEXT, "who works when"),
    Column("rule", TEXT, "the acceptance rule"),
    Column("draft_length", WHOLE, "k of a fixed stopping rule; null when there is no fixed one"),
    Column("temperature", REAL, "of the sampling; 0: the likeliest token"),
    Column("max_new_tokens", WHOLE, "longest response"),
    Column("recording", TEXT, "file name of the recording; null with real models"),
    Column("recording_digest", TEXT, "SHA-256 of it"),
    Column("task", TEXT, "tasks of the prompts, joined by +"),
    Column("prompts", WHOLE, "different prompts"),
    Column("devices", WHOLE, "how many"),
    Column("verifiers", WHOLE, "how many"),
    Column("seed", WHOLE, "of link, arrivals and think times"),
)

MEASURED = (
    Column("responses", WHOLE, "that ended in good order"),
    Column("failed", WHOLE, "that did not; they are in no other figure"),
    Column("tokens", WHOLE, "committed"),
    *_measured("accepted_length", "draft tokens accepted per round"),
    *_measured("tokens_per_round", "tokens that a verdict brought: the accepted ones and the target's own"),
    *_measured("acceptance_rate", "accepted of all drafted tokens in judged drafts"),
    Column(
        "acceptance_by_position",
        REALS,
        "[k] accepted of those judged at each position of a draft; a token after a rejected one is not judged",
    ),
    Column("judged_by_position", WHOLES, "[k] how many were judged there"),
    *_measured("rounds_per_response", "round trips of the link, the opening not counted"),
    *_measured("bytes_up_per_token", "encoded messages to the verifier, per committed token"),
    *_measured("bytes_down_per_token", "encoded messages from the verifier"),
    Column("wire_bytes_up_per_token", REAL, "with gRPC, HTTP/2, TLS, TCP and IP; null where nobody counts them"),
    Column("wire_bytes_down_per_token", REAL, "likewise"),
    *_measured("ttft_s", "mean over responses: start to first committed token, prefill on both sides included"),
    Column("ttft_p50_s", REAL, "median over responses"),
    Column("ttft_p95_s", REAL, "95th percentile"),
    Column("ttft_p99_s", REAL, "99th percentile"),
    *_measured("tpot_s", "ratio of sums over responses: (last - first token's time) / (tokens - 1)"),
    Column("tpot_p50_s", REAL, "median over responses of the same per response"),
    Column("tpot_p95_s", REAL, "95th percentile"),
    Column("tpot_p99_s", REAL, "99th percentile"),
    *_measured("response_s", "mean over responses: start to last committed token"),
    Column("gap_p50_s", REAL, "median pause between visible bursts of tokens, all responses together"),
    Column("gap_p95_s", REAL, "95th percentile"),
    Column("gap_p99_s", REAL, "99th percentile"),
    *_measured("target_s_per_token", "share of the target's forwards, prefill included, per committed token: what the cloud pays"),
    *_measured("wasted_drafts_per_token", "tokens drafted and not accepted, per committed token"),
    Column("draft_s_per_token", REAL, "device's drafting time, prefill included, per committed token"),
    Column("queue_s_per_round", REAL, "mean wait for a forward at the verifier, per answer"),
    Column("queue_p95_s", REAL, "95th percentile of the same"),
    Column("batch_mean", REAL, "sessions per forward, mean over answers"),
    Column("reconnects", WHOLE, "lines mended"),
    Column("duration_s", REAL, "first start to last token of the whole cell"),
    Column("tokens_per_s", REAL, "committed tokens of all devices / duration_s: throughput"),
    Column("target_busy", REAL, "share of duration_s in which the verifiers computed"),
    Column("fairness", REAL, "Jain's index of the devices' speeds (tokens / time spent in responses); null with one device"),
    Column("agreement", REAL, "share of positions where the drafter alone would have said what the target says; device rows only"),
    Column("wall_s", REAL, "real seconds that the cell took to run"),
)

PREDICTED = (
    Column(
        "predicted_acceptance", REAL, "mean per-token acceptance that the cost model was given: of the recording, else as measured here"
    ),
    Column("predicted_tokens_per_round", REAL, "E[L] = (1 - a^(k+1)) / (1 - a), with each prompt's own a: all tokens over all rounds"),
    Column("predicted_round_s", REAL, "T_round(k)"),
    Column("predicted_tpot_s", REAL, "T_round / E[L]; for a stream: the target's time per token"),
    Column("predicted_stream_tpot_s", REAL, "what streaming should take here"),
    Column("predicted_best_draft_length", WHOLE, "the k from 1 to 16 that minimises T_round / E[L]"),
    Column("predicted_break_even_ms", REAL, "round trip below which drafting, at its best length, beats streaming"),
)

SUMMARY = (*IDENTITY, *CONDITIONS, *MEASURED, *PREDICTED)

RESPONSES = (
    Column("cell", TEXT, "which row of the summary"),
    Column("environment", TEXT, "as in the summary"),
    Column("policy", TEXT, "as in the summary"),
    Column("name", TEXT, "the prompt's name: pairs responses of different policies"),
    Column("task", TEXT, "the prompt's task"),
    Column("device", WHOLE, "number of the device"),
    Column("failure", TEXT, "null, or why the response did not end in good order"),
    Column("prompt_length", WHOLE, "tokens"),
    Column("tokens", WHOLE, "committed"),
    Column("finish", TEXT, "why it ended"),
    Column("started_s", REAL, "in the cell's time"),
    Column("ttft_s", REAL, "start to first committed token"),
    Column("tpot_s", REAL, "(last - first) / (tokens - 1); null with one token"),
    Column("response_s", REAL, "start to last committed token"),
    Column("longest_gap_s", REAL, "longest pause between visible bursts"),
    Column("rounds", WHOLE, "drafts judged"),
    Column("drafted", WHOLE, "tokens of judged drafts"),
    Column("accepted", WHOLE, "of those"),
    Column("draft_steps", WHOLE, "tokens drafted at all"),
    Column("bytes_up", WHOLE, "encoded messages"),
    Column("bytes_down", WHOLE, "encoded messages"),
    Column("target_s", REAL, "share of the target's forwards, prefill included"),
    Column("draft_s", REAL, "drafting on the device, prefill included"),
    Column("queue_s", REAL, "waiting for forwards"),
)


def schema(columns: Sequence[Column]) -> pyarrow.Schema:
    """The columns as Arrow has them; each field's metadata holds its meaning."""
    import pyarrow as arrow  # here, so that the rest of airdraft does not need the experiments extra

    kinds = {
        TEXT: arrow.string(),
        REAL: arrow.float64(),
        WHOLE: arrow.int64(),
        TRUTH: arrow.bool_(),
        REALS: arrow.list_(arrow.float64()),
        WHOLES: arrow.list_(arrow.int64()),
    }
    fields = [arrow.field(column.name, kinds[column.kind], metadata={"meaning": column.meaning}) for column in columns]
    return arrow.schema(fields, metadata={"format": FORMAT, "version": str(VERSION)})


def write_rows(path: Path, columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """One table; a column that a row lacks is null. The file appears only when it is complete.

    Raises SettingsError for a row with an unknown column and a file that cannot be written.
    """
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    listed = [dict(row) for row in rows]
    known = {column.name for column in columns}
    strange = sorted({name for row in listed for name in row} - known)
    if strange:
        raise SettingsError(f"{path.name} has no column {', '.join(strange)}; describe it in orchestration/summary.py first.")
    table = arrow.Table.from_pylist(listed, schema=schema(columns))
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, unfinished, compression="zstd")
        unfinished.replace(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error}. Choose a place that can be written.") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table written by `write_rows`. Raises SettingsError when there is none, or one of another version."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
    except (OSError, arrow.ArrowException) as error:
        raise SettingsError(f"{path}: {error}. Expected a table as `airdraft sweep` writes them.") from error
    about = table.schema.metadata or {}
    if about.get(b"format") != FORMAT.encode() or about.get(b"version") != str(VERSION).encode():
        raise SettingsError(f"{path}: not a table of {FORMAT} version {VERSION}. Run the sweep again with this airdraft.")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
