"""A cell that has been run, as its row of the summary, the rows of its responses and its journal; simulated or measured, the same way."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airdraft import __version__
from airdraft.journal import Header, JournalWriter, ResponseRecord
from orchestration import link, metrics
from orchestration.cell import Cell, Kind, renamed
from orchestration.fleet import FleetResult, Response
from orchestration.link.channel import LinkState
from orchestration.material import Questions
from orchestration.scenario import Scenario


@dataclass(frozen=True, slots=True)
class CellResult:
    """A cell's row of the summary, its responses' rows, and its journal if one was asked for."""

    row: dict[str, Any]
    responses: list[dict[str, Any]]
    journal: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """A cell and what its devices did. `scenario` is the cell's own, with its files where they lie on this machine."""

    cell: Cell
    scenario: Scenario
    questions: Questions
    prompts: tuple[int, ...]
    result: FleetResult
    machines: Mapping[str, Any]  # the summary's columns about the machines
    sources: Mapping[str, str]  # by kind of work: where the machines' times come from
    simulated: bool

    @property
    def records(self) -> list[ResponseRecord]:
        """Of the responses that ended in good order."""
        return [response.record for response in self.result.responses if response.record is not None]


def tabulate(ran: Ran, *, keep_journal: bool) -> CellResult:
    """All that the records tell; the predicted columns and `wall_s` are the caller's."""
    records = ran.records
    row = _identity(ran) | _conditions(ran) | metrics.summarise(records)
    row |= _of_the_whole(ran, row)
    journal = _journal(ran, records) if keep_journal else None
    return CellResult(row, [_response_row(ran, response) for response in ran.result.responses], journal)


def _identity(ran: Ran) -> dict[str, Any]:
    cell = ran.cell
    return {
        "cell": cell.key,
        "environment": cell.environment,
        "linkless": cell.linkless,
        "scenario": cell.scenario.name,
        "kind": str(cell.kind),
        "policy": cell.policy,
        "simulated": ran.simulated,
        "axes": json.dumps(cell.axes, sort_keys=True),
        "settings": json.dumps(_settings(ran), sort_keys=True),
        "version": __version__,
    }


def _settings(ran: Ran) -> dict[str, Any]:
    """The cell's scenario in plain values: files by their names, and what the recording decided stated."""
    cell, contract = ran.cell, ran.questions.contract(ran.prompts[0], ran.scenario.device)
    values = cell.scenario.model_dump(mode="json", exclude={"grid", "sweep"})
    values["device"] |= {"max_new_tokens": contract.max_new_tokens, "sampling": contract.sampling.model_dump()}
    named: dict[str, Any] = renamed(values, {path: Path(path).name for path in cell.file_digests})
    return named


def _conditions(ran: Ran) -> dict[str, Any]:
    cell, scenario, device = ran.cell, ran.scenario, ran.scenario.device
    contract = ran.questions.contract(ran.prompts[0], device)
    recorded = cell.scenario.workload.recording
    return {
        **_link(ran),
        **ran.machines,
        "drafter": device.drafter.kind,
        "stopping": device.stopping,
        "schedule": device.schedule,
        "rule": device.rule,
        "draft_length": scenario.fixed_draft_length if cell.kind is not Kind.DEVICE else None,
        "temperature": contract.sampling.temperature,
        "max_new_tokens": contract.max_new_tokens,
        "recording": "+".join(path.name for path in recorded) or None,
        "recording_digest": "+".join(ran.questions.digests.values()) or None,
        "task": "+".join(sorted({ran.questions.prompts[number].task for number in ran.prompts})),
        "prompts": len(ran.prompts),
        "devices": scenario.devices,
        "verifiers": scenario.verifiers,
        "seed": scenario.seed,
    }


def _link(ran: Ran) -> dict[str, Any]:
    """A link's figures, where it has fixed ones."""
    settings = ran.scenario.link
    if ran.cell.kind in (Kind.DEVICE, Kind.LOCAL):
        return {"link": "none", "channel": None}
    if not ran.simulated and settings.changes_nothing:
        return {"link": "as it is", "channel": None}
    row: dict[str, Any] = {"link": settings.name, "channel": settings.channel_name()}
    if row["channel"] == "constant":
        state: LinkState = link.build(settings).state(0.0)
        row |= {
            "round_trip_ms": 1e3 * state.round_trip_s,
            "jitter_ms": 1e3 * state.round_trip_jitter_s,
            "uplink_mbps": _finite(state.up.rate_bps / 1e6),
            "downlink_mbps": _finite(state.down.rate_bps / 1e6),
            "loss": state.up.loss,
        }
    return row


def _of_the_whole(ran: Ran, row: Mapping[str, Any]) -> dict[str, Any]:
    """Figures that no record alone tells."""
    duration_s = row.get("duration_s") or 0.0
    busy = ran.result.verifiers_busy_s / (duration_s * ran.scenario.verifiers) if duration_s else None
    lone = ran.cell.kind is Kind.DEVICE
    return {
        "failed": sum(response.record is None for response in ran.result.responses),
        "target_busy": busy,
        "agreement": _agreement(ran) if lone else None,
        **({"wasted_drafts_per_token": None, "target_s_per_token": None} if lone else {}),
    }


def _agreement(ran: Ran) -> float | None:
    """Of all positions of all prompts together."""
    overlaps = ran.questions.overlaps(ran.prompts, ran.scenario.device)
    return sum(one.tokens * one.share for one in overlaps) / sum(one.tokens for one in overlaps) if overlaps else None


def _response_row(ran: Ran, response: Response) -> dict[str, Any]:
    prompt = ran.questions.prompts[response.prompt]
    row = {
        "cell": ran.cell.key,
        "environment": ran.cell.environment,
        "policy": ran.cell.policy,
        "name": prompt.name,
        "task": prompt.task,
        "device": response.device,
        "failure": response.failure,
        "prompt_length": len(prompt.tokens),
    }
    return row if response.record is None else row | metrics.response_row(response.record)


def _journal(ran: Ran, records: Sequence[ResponseRecord]) -> bytes:
    cell = ran.cell
    header = Header(
        simulated=ran.simulated,
        settings=_settings(ran),
        seeds={"scenario": cell.scenario.seed},
        digests={**ran.questions.digests, **{Path(name).name: digest for name, digest in cell.file_digests.items()}},
        sources=ran.sources,
    )
    file = io.BytesIO()
    writer = JournalWriter(file, header)
    for record in records:
        writer.write(record)
    return file.getvalue()


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
