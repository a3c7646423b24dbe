"""A sweep's file measured on a cluster that is up: the same cells, tables and journals as in virtual time, from real devices and links."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from airdraft.errors import SettingsError
from airdraft.messages import Description
from orchestration.assembly import Language
from orchestration.cell import Cell
from orchestration.cluster import placing
from orchestration.cluster.measuring import Crew, Machines, OnDevices
from orchestration.cluster.reports import Snapshot
from orchestration.material import Questions
from orchestration.prompt_file import PromptFile
from orchestration.scenario import Scenario, read_values
from orchestration.sweep.directory import About
from orchestration.sweep.grid import expand
from orchestration.sweep.sweep import Outcome, Plan, Progress, carry_out, versions
from orchestration.workload import select

SUFFIX = "-on-cluster"  # of the run's name, so that it can lie beside the simulated one


@dataclass
class Experiments:
    """Sweeps on one cluster. `snapshot`: how it was when it was found; it must stay as it is."""

    crew: Crew
    snapshot: Snapshot
    language: Language
    served: Description
    _questions: dict[Path, PromptFile] = field(default_factory=dict)

    def run(self, path: Path, runs: Path, progress: Progress | None = None) -> Outcome:
        """Measure what has not been measured before of this file's cells; the directory is `runs` / its name and SUFFIX.

        Raises SettingsError for what this cluster cannot measure, before anything is asked.
        """
        plan = self.plan(path)
        with asyncio.Runner() as runner:
            machines = Machines(placing.machines(self.snapshot.devices), placing.machines(self.snapshot.replicas))
            executor = OnDevices(self.crew, self.questions, machines, runner)
            return carry_out(plan, runs, lambda pending: nullcontext(executor), progress)

    def plan(self, path: Path) -> Plan:
        """The file's cells on this cluster. Raises SettingsError for an impossible one, and while devices are answering others."""
        busy = [status.report.name for status in self.snapshot.devices if status.state == "answering"]
        if busy:
            raise SettingsError(
                f"answering somebody already: {', '.join(busy)}. An experiment needs the devices to itself; wait until they are idle."
            )
        settings, source = self.snapshot.settings, str(path)
        values = placing.placed(read_values(path), settings, source)
        scenario = Scenario.parse(values, source)
        place = placing.place_of(self.snapshot)
        cells = together(replace(cell, place=place) for cell in expand(values, source, lambda one: one.verifier.max_draft))
        placing.check(cells, settings)
        for cell in cells:
            self._check_prompts(cell)
        stated = {**values, "cluster": settings.model_dump(mode="json")}
        about = About(scenario.name + SUFFIX, stated, self._digests(cells), versions(), simulated=False)
        return Plan(about, cells, scenario.sweep.journals)

    def questions(self, scenario: Scenario) -> Questions:
        """What a scenario's devices are asked. Raises SettingsError for a file that cannot be used."""
        assert scenario.workload.prompts is not None, "placing refuses recordings, and a scenario has either"
        path = scenario.workload.prompts
        return self._questions.setdefault(path, PromptFile(path, self.language, self.served))

    def _check_prompts(self, cell: Cell) -> None:
        questions, limit = self.questions(cell.scenario), cell.scenario.verifier.context
        for number in select(questions.prompts, cell.scenario.workload):
            prompt = questions.prompts[number]
            if len(prompt.tokens) >= limit:
                raise SettingsError(
                    f"prompt {prompt.name!r} has {len(prompt.tokens)} tokens, and this cluster's verifier.context is {limit}."
                )

    def _digests(self, cells: Sequence[Cell]) -> dict[str, str]:
        digests = {Path(path).name: digest for cell in cells for path, digest in cell.file_digests.items()}
        for cell in cells:
            digests |= self.questions(cell.scenario).digests
        return digests


def together(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """In their order, but all policies of one set of conditions in a row: a machine whose speed drifts treats them alike."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.environment].append(cell)
    return tuple(cell for group in groups.values() for cell in group)
