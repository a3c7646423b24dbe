"""The baselines that every comparison shows, as changes to a scenario; and the one that needs no verifier, computed outright."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airdraft.journal import ResponseRecord
from airdraft.messages import Finish
from edge.settings import DrafterSettings
from orchestration.fleet import FleetResult, Response
from orchestration.link.settings import LinkSettings
from orchestration.material import Material
from orchestration.scenario import RECORDED, Scenario
from orchestration.simulation import ConnectionSettings, Framing, MachineProfile

LINKLESS = ConnectionSettings(framing=Framing(tls_bytes=0, header_bytes=0), open_round_trips=0)


def stream(scenario: Scenario) -> Scenario:
    """The cloud decodes by itself and streams to the client: one round trip per response."""
    return _with_device(scenario, schedule="stream", drafter=DrafterSettings(kind="lookup"), draft_length=0, stopping="fixed", **PLAIN)


def sequential(scenario: Scenario, draft_length: int) -> Scenario:
    """Draft so many tokens, wait for the verdict, repeat. Recordings draft with their own drafter, whatever the scenario drafts with."""
    drafter = DrafterSettings(kind=RECORDED) if scenario.replayed else scenario.device.drafter
    return _with_device(scenario, schedule="sequential", drafter=drafter, draft_length=draft_length, stopping="fixed", **PLAIN)


def local(scenario: Scenario, draft_length: int) -> Scenario:
    """Target and drafter in one place: the same two machines, and nothing between them."""
    return sequential(unlinked(scenario), draft_length)


def device(scenario: Scenario) -> Scenario:
    """The drafter alone, without link or verifier; see `alone`."""
    return _with_device(unlinked(scenario), schedule="sequential", draft_length=0, stopping="fixed", **PLAIN)


PLAIN: dict[str, Any] = {"rule": "exact", "rule_parameters": {}}


def unlinked(scenario: Scenario) -> Scenario:
    """The same without a link."""
    return scenario.model_copy(update={"link": LinkSettings(), "connection": LINKLESS, "reports": None})


def _with_device(scenario: Scenario, **changes: Any) -> Scenario:
    return scenario.model_copy(update={"device": scenario.device.model_copy(update=changes)})


def alone(scenario: Scenario, material: Material, prompts: Sequence[int], machine: MachineProfile) -> FleetResult:
    """The drafter alone, without link or verifier: its first step feeds the prompt, every further one a token.

    Responses are taken to be as long as the target's, or max_new_tokens when that is not known. Only times are meant: what it would say is
    not generated.
    """
    clock_s, responses = 0.0, []
    for prompt in prompts:
        record = _alone(scenario, material, prompt, (machine, clock_s))
        clock_s = record.bursts[-1][0]
        responses.append(Response(0, prompt, record))
    return FleetResult(tuple(responses))


def _alone(scenario: Scenario, material: Material, prompt: int, start: tuple[MachineProfile, float]) -> ResponseRecord:
    machine, started_s = start
    contract = material.contract(prompt, scenario.device)
    expected = material.expected(prompt, scenario.device)
    count = contract.max_new_tokens if expected is None else len(expected)
    first_s = machine.cost("draft").seconds(len(contract.prompt))
    step_s = machine.cost("draft").seconds(1)
    bursts = tuple((started_s + first_s + number * step_s, 1) for number in range(count))
    drafting = {"draft_s": first_s + (count - 1) * step_s, "draft_steps": float(count)}
    unsent = {"framed_bytes_up": 0.0, "framed_bytes_down": 0.0}
    return ResponseRecord(
        name=material.prompts[prompt].name,
        device="0",
        prompt_length=len(contract.prompt),
        tokens=(),
        finish=Finish.LENGTH,
        started_s=started_s,
        bursts=bursts,
        figures=drafting | unsent,
    )
