"""Runs one cell: devices and verifiers as deployed, on virtual time, and one row of the summary from what they did."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from orchestration import baselines, link
from orchestration.cell import Cell, Kind
from orchestration.fleet import Fleet, FleetResult
from orchestration.material import Material, Overlap
from orchestration.prediction import predict
from orchestration.scenario import Scenario
from orchestration.simulation.profile import MachineProfile
from orchestration.tabulation import CellResult, Ran, tabulate
from orchestration.workload import select


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
    done = tabulate(_ran(prepared, _run(prepared)), keep_journal=keep_journal)
    predicted = predict(prepared.cell, (prepared.device, prepared.verifier), _overlaps(prepared, done.row))
    return replace(done, row=done.row | predicted | {"wall_s": time.perf_counter() - started})


def _run(prepared: Prepared) -> FleetResult:
    scenario = prepared.scenario
    if prepared.cell.kind is Kind.DEVICE:
        return baselines.alone(scenario, prepared.material, prepared.prompts, prepared.device)
    return Fleet(scenario, prepared.material, prepared.prompts, prepared.device, prepared.verifier).run()


def _machines(scenario: Scenario) -> tuple[MachineProfile, MachineProfile]:
    return scenario.machines.device_profile(), scenario.machines.verifier_profile()


def _ran(prepared: Prepared, result: FleetResult) -> Ran:
    draft, verify, prefill = prepared.device.cost("draft"), prepared.verifier.cost("verify"), prepared.verifier.cost("prefill")
    machines = {
        "device_machine": prepared.device.name,
        "device_source": draft.source,
        "draft_step_s": draft.seconds(1),
        "verifier_machine": prepared.verifier.name,
        "verifier_source": verify.source,
        "target_token_s": verify.seconds(1),
    }
    sources = {"draft": draft.source, "verify": verify.source, "prefill": prefill.source}
    return Ran(prepared.cell, prepared.scenario, prepared.material, prepared.prompts, result, machines, sources, simulated=True)


def _overlaps(prepared: Prepared, row: dict[str, Any]) -> tuple[Overlap, ...]:
    """What the cost model is told of the text: known beforehand from a recording, else as it was measured here."""
    known = prepared.material.overlaps(prepared.prompts, prepared.scenario.device)
    judged = row.get("judged_by_position")
    if known or not judged:
        return known
    accepted = sum(share * count for share, count in zip(row["acceptance_by_position"], judged, strict=True))
    return (Overlap(row["tokens"], accepted / sum(judged)),)
