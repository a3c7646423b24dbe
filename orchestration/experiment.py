"""Runs one cell: devices and verifiers as deployed, on virtual time, and one row of the summary from what they did."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airdraft import __version__
from airdraft.journal import Header, JournalWriter, ResponseRecord
from orchestration import baselines, link, metrics
from orchestration.cell import Cell, Kind, renamed
from orchestration.fleet import Fleet, FleetResult, Response
from orchestration.link.channel import LinkState
from orchestration.material import Material, Overlap
from orchestration.prediction import predict
from orchestration.scenario import Scenario
from orchestration.simulation.profile import MachineProfile
from orchestration.workload import select


@dataclass(frozen=True, slots=True)
class CellResult:
    """A cell's row of the summary, its responses' rows, and its journal if one was asked for."""

    row: dict[str, Any]
    responses: list[dict[str, Any]]
    journal: bytes | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A cell whose settings have been found possible: what it runs on and over which prompts.

    `scenario` is the cell's own, with its files where they lie on this machine.
    """

    cell: Cell
    scenario: Scenario
    material: Material
    prompts: tuple[int, ...]
    device: MachineProfile
    verifier: MachineProfile


def prepare(cell: Cell, material: Material, scenario: Scenario | None = None) -> Prepared:
    """Everything that can be refused, before anything runs; `scenario` as `Prepared` has it. Raises SettingsError."""
    scenario = scenario or cell.scenario
    device, verifier = _machines(scenario)
    link.build(scenario.link)
    prompts = select(material.prompts, scenario.workload)
    material.check(scenario.device, scenario.verifier, prompts)
    return Prepared(cell, scenario, material, prompts, device, verifier)


def run_cell(prepared: Prepared, *, keep_journal: bool = False) -> CellResult:
    """Run it. The same cell gives the same result, but for `wall_s`."""
    started = time.perf_counter()
    result = _run(prepared)
    records = [response.record for response in result.responses if response.record is not None]
    row = _identity(prepared) | _conditions(prepared) | metrics.summarise(records)
    row |= _of_the_whole(prepared, result, row)
    row |= predict(prepared.cell, (prepared.device, prepared.verifier), _overlaps(prepared, row))
    journal = _journal(prepared, records) if keep_journal else None
    row["wall_s"] = time.perf_counter() - started
    return CellResult(row, [_response_row(prepared, response) for response in result.responses], journal)


def _run(prepared: Prepared) -> FleetResult:
    scenario = prepared.scenario
    if prepared.cell.kind is Kind.DEVICE:
        return baselines.alone(scenario, prepared.material, prepared.prompts, prepared.device)
    return Fleet(scenario, prepared.material, prepared.prompts, prepared.device, prepared.verifier).run()


def _machines(scenario: Scenario) -> tuple[MachineProfile, MachineProfile]:
    return scenario.machines.device_profile(), scenario.machines.verifier_profile()


def _identity(prepared: Prepared) -> dict[str, Any]:
    cell = prepared.cell
    return {
        "cell": cell.key,
        "environment": cell.environment,
        "linkless": cell.linkless,
        "scenario": cell.scenario.name,
        "kind": str(cell.kind),
        "policy": cell.policy,
        "simulated": True,
        "axes": json.dumps(cell.axes, sort_keys=True),
        "settings": json.dumps(_settings(prepared), sort_keys=True),
        "version": __version__,
    }


def _settings(prepared: Prepared) -> dict[str, Any]:
    """The cell's scenario in plain values: files by their names, and what the recording decided stated."""
    cell, contract = prepared.cell, prepared.material.contract(prepared.prompts[0], prepared.scenario.device)
    values = cell.scenario.model_dump(mode="json", exclude={"grid", "sweep"})
    values["device"] |= {"max_new_tokens": contract.max_new_tokens, "sampling": contract.sampling.model_dump()}
    named: dict[str, Any] = renamed(values, {path: Path(path).name for path in cell.file_digests})
    return named


def _conditions(prepared: Prepared) -> dict[str, Any]:
    cell, material = prepared.cell, prepared.material
    scenario, device = prepared.scenario, prepared.scenario.device
    draft, verify = prepared.device.cost("draft"), prepared.verifier.cost("verify")
    contract = material.contract(prepared.prompts[0], device)
    return {
        **_link(scenario, crossed=cell.kind not in (Kind.DEVICE, Kind.LOCAL)),
        "device_machine": prepared.device.name,
        "device_source": draft.source,
        "draft_step_s": draft.seconds(1),
        "verifier_machine": prepared.verifier.name,
        "verifier_source": verify.source,
        "target_token_s": verify.seconds(1),
        "drafter": device.drafter.kind,
        "stopping": device.stopping,
        "schedule": device.schedule,
        "rule": device.rule,
        "draft_length": scenario.fixed_draft_length if cell.kind is not Kind.DEVICE else None,
        "temperature": contract.sampling.temperature,
        "max_new_tokens": contract.max_new_tokens,
        "recording": "+".join(path.name for path in cell.scenario.workload.recording) or None,
        "recording_digest": "+".join(material.digests.values()) or None,
        "task": "+".join(sorted({material.prompts[number].task for number in prepared.prompts})),
        "prompts": len(prepared.prompts),
        "devices": scenario.devices,
        "verifiers": scenario.verifiers,
        "seed": scenario.seed,
    }


def _link(scenario: Scenario, *, crossed: bool) -> dict[str, Any]:
    """A link's figures, where it has fixed ones."""
    if not crossed:
        return {"link": "none", "channel": None}
    settings = scenario.link
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


def _of_the_whole(prepared: Prepared, result: FleetResult, row: dict[str, Any]) -> dict[str, Any]:
    """Figures that no record alone tells."""
    duration_s = row.get("duration_s") or 0.0
    busy = result.verifiers_busy_s / (duration_s * prepared.cell.scenario.verifiers) if duration_s else None
    lone = prepared.cell.kind is Kind.DEVICE
    return {
        "failed": sum(response.record is None for response in result.responses),
        "target_busy": busy,
        "agreement": _agreement(prepared) if lone else None,
        **({"wasted_drafts_per_token": None, "target_s_per_token": None} if lone else {}),
    }


def _agreement(prepared: Prepared) -> float | None:
    """Of all positions of all prompts together."""
    overlaps = prepared.material.overlaps(prepared.prompts, prepared.scenario.device)
    return sum(one.tokens * one.share for one in overlaps) / sum(one.tokens for one in overlaps) if overlaps else None


def _overlaps(prepared: Prepared, row: dict[str, Any]) -> tuple[Overlap, ...]:
    """What the cost model is told of the text: known beforehand from a recording, else as it was measured here."""
    known = prepared.material.overlaps(prepared.prompts, prepared.scenario.device)
    judged = row.get("judged_by_position")
    if known or not judged:
        return known
    accepted = sum(share * count for share, count in zip(row["acceptance_by_position"], judged, strict=True))
    return (Overlap(row["tokens"], accepted / sum(judged)),)


def _response_row(prepared: Prepared, response: Response) -> dict[str, Any]:
    prompt = prepared.material.prompts[response.prompt]
    row = {
        "cell": prepared.cell.key,
        "environment": prepared.cell.environment,
        "policy": prepared.cell.policy,
        "name": prompt.name,
        "task": prompt.task,
        "device": response.device,
        "failure": response.failure,
        "prompt_length": len(prompt.tokens),
    }
    return row if response.record is None else row | metrics.response_row(response.record)


def _journal(prepared: Prepared, records: Sequence[ResponseRecord]) -> bytes:
    cell = prepared.cell
    header = Header(
        simulated=True,
        settings=_settings(prepared),
        seeds={"scenario": cell.scenario.seed},
        digests={**prepared.material.digests, **{Path(name).name: digest for name, digest in cell.file_digests.items()}},
        sources={
            "draft": prepared.device.cost("draft").source,
            "verify": prepared.verifier.cost("verify").source,
            "prefill": prepared.verifier.cost("prefill").source,
        },
    )
    file = io.BytesIO()
    writer = JournalWriter(file, header)
    for record in records:
        writer.write(record)
    return file.getvalue()


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
