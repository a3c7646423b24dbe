"""Runs a sweep's cells for real: a cluster's devices answer, in real time, each behind the cell's link. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Protocol

from airdraft.errors import AirdraftError, DeadlineError, InternalError
from airdraft.journal import ResponseRecord, RoundRecord
from airdraft.messages import Contract
from edge.settings import DeviceSettings
from orchestration.cell import Cell, Kind
from orchestration.cluster.device import Answered, Behind
from orchestration.fleet import FleetResult, Response, derived
from orchestration.material import Questions
from orchestration.scenario import Scenario
from orchestration.sweep.inputs import Inputs
from orchestration.sweep.work import Batch, Finished, finished
from orchestration.tabulation import CellResult, Ran, tabulate
from orchestration.workload import Turn, plan, select

MEASURED = "measured"


class Crew(Protocol):
    """A cluster's devices, by their numbers."""

    async def answer(self, device: int, contract: Contract, settings: DeviceSettings, behind: Behind) -> Answered:
        """One whole response. Raises AirdraftError."""
        ...

    async def hang_up(self, devices: int) -> None:
        """End what the first so many devices have at work."""
        ...


@dataclass(frozen=True, slots=True)
class Machines:
    """What the devices and the verifiers run on, in words."""

    devices: str
    verifiers: str


@dataclass(frozen=True, slots=True)
class _Work:
    """One device's part of a cell: its turns over `prompts`, numbers of the questions' prompts; times of the running loop."""

    cell: Cell
    questions: Questions
    device: int
    turns: tuple[Turn, ...]
    prompts: tuple[int, ...]
    began_s: float
    files: Inputs

    @property
    def behind(self) -> Behind:
        """The cell's link, with randomness of its own for each device."""
        scenario = self.cell.scenario
        seed = derived(scenario.seed, f"channel/{scenario.link.seed}", self.device)
        return Behind(scenario.link.model_copy(update={"seed": seed}), self.cell.key, self.files)


@dataclass(frozen=True, slots=True)
class OnDevices:
    """An `Executor` (orchestration.sweep.executors) whose cells run one after the other, each with the devices to itself.

    Under the exact rule the texts of all policies that it measures are checked to be the same; `texts`: those known, by their contracts.
    """

    crew: Crew
    questions: Callable[[Scenario], Questions]
    machines: Machines
    runner: asyncio.Runner
    texts: dict[Contract, tuple[int, ...]] = field(default_factory=dict)
    workers: int = 1

    def run(self, batches: Sequence[Batch]) -> Iterator[list[Finished]]:
        """See `Executor.run`."""
        for batch in batches:
            for cell in batch.cells:
                yield [finished(cell, partial(self._result, cell, batch.keep_journals))]

    def _result(self, cell: Cell, keep_journal: bool) -> CellResult:
        started_s = time.perf_counter()
        done = self._tabulated(cell, self.runner.run(self._measured(cell)), keep_journal)
        return replace(done, row=done.row | {"wall_s": time.perf_counter() - started_s})

    def _tabulated(self, cell: Cell, result: FleetResult, keep_journal: bool) -> CellResult:
        questions = self.questions(cell.scenario)
        prompts = select(questions.prompts, cell.scenario.workload)
        records = [response.record for response in result.responses if response.record is not None]
        machines = {
            "device_machine": self.machines.devices,
            "device_source": MEASURED,
            "draft_step_s": draft_step_s(records),
            "verifier_machine": self.machines.verifiers,
            "verifier_source": MEASURED,
            "target_token_s": target_token_s(records) if cell.kind is Kind.STREAM else None,
        }
        sources = {"draft": MEASURED, "verify": MEASURED, "prefill": MEASURED}
        ran = Ran(cell, cell.scenario, questions, prompts, result, machines, sources, simulated=False)
        return tabulate(ran, keep_journal=keep_journal)

    async def _measured(self, cell: Cell) -> FleetResult:
        """All responses, in the order of devices and their turns; their times count from the cell's start."""
        scenario, questions = cell.scenario, self.questions(cell.scenario)
        prompts = select(questions.prompts, scenario.workload)
        turns = plan(scenario.workload, scenario.devices, len(prompts), scenario.seed)
        began_s = asyncio.get_running_loop().time()
        files = Inputs.read([scenario.link.trace] if scenario.link.trace else [])
        works = [_Work(cell, questions, number, tuple(of), prompts, began_s, files) for number, of in enumerate(turns)]
        try:
            async with asyncio.timeout(scenario.horizon_s), asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._responses(work)) for work in works]
        except BaseException as error:
            await self.crew.hang_up(scenario.devices)
            if isinstance(error, TimeoutError):
                raise DeadlineError(f"not done within horizon_s = {scenario.horizon_s:g} s; raise it, or ask for less.") from None
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise
        responses = tuple(response for task in tasks for response in task.result())
        busy_s = sum(response.record.figures["target_s"] for response in responses if response.record is not None)
        return FleetResult(responses, busy_s)

    async def _responses(self, work: _Work) -> list[Response]:
        responses = []
        for turn in work.turns:
            await turn.come(work.began_s)
            responses.append(await self._response(work, work.prompts[turn.prompt]))
        return responses

    async def _response(self, work: _Work, prompt: int) -> Response:
        scenario, name = work.cell.scenario, work.questions.prompts[prompt].name
        contract = work.questions.contract(prompt, scenario.device)
        try:
            answered = await self.crew.answer(work.device, contract, scenario.device, work.behind)
        except InternalError:
            raise
        except AirdraftError as error:
            return Response(work.device, prompt, failure=f"{error.code}: {error.message}")
        ended_s = asyncio.get_running_loop().time() - work.began_s
        self._check(contract, answered.tokens, name)
        record = answered.statistics.record(name, str(work.device), contract, answered.tokens)
        return Response(work.device, prompt, moved(record, ended_s))

    def _check(self, contract: Contract, tokens: tuple[int, ...], name: str) -> None:
        if contract.rule.name != "exact":
            return
        known = self.texts.setdefault(contract, tokens)
        if any(one != other for one, other in zip(known, tokens, strict=False)):
            raise InternalError(
                f"the response to {name!r} is another one than under a policy measured before. Report this with the scenario."
            )
        if len(tokens) > len(known):
            self.texts[contract] = tokens


def moved(record: ResponseRecord, ended_s: float) -> ResponseRecord:
    """The record with all its times moved so that its last token came at `ended_s`: machines' clocks have nothing in common."""
    by_s = ended_s - (record.bursts[-1][0] if record.bursts else record.started_s)
    return replace(
        record,
        started_s=record.started_s + by_s,
        bursts=tuple((moment_s + by_s, count) for moment_s, count in record.bursts),
        rounds=tuple(
            replace(one, sent_s=None if one.sent_s is None else one.sent_s + by_s, arrived_s=one.arrived_s + by_s) for one in record.rounds
        ),
    )


def draft_step_s(records: Sequence[ResponseRecord]) -> float | None:
    """Median seconds per drafted token; each response's first draft is left out, since it computes the prompt."""
    return _median(records, "draft", lambda one: one.draft_s / len(one.drafted) if one.drafted else None)


def target_token_s(records: Sequence[ResponseRecord]) -> float | None:
    """Median seconds of the forward behind a streamed token; each response's first is left out, since it computes the prompt."""
    return _median(records, "stream", lambda one: one.timings.forward_s if one.timings.batch else None)


def _median(records: Sequence[ResponseRecord], kind: str, figure: Callable[[RoundRecord], float | None]) -> float | None:
    of_kind = [[one for one in record.rounds if one.kind == kind] for record in records]
    found = [value for rounds in of_kind for one in rounds[1:] if (value := figure(one)) is not None]
    return median(found) if found else None
