"""Sweeps measured on devices: real sessions over real gRPC behind emulated links, in real time; no Ray."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from airdraft.errors import SettingsError, UnavailableError
from orchestration.assembly import build_contract
from orchestration.cluster import placing
from orchestration.cluster.device import Answered, Behind
from orchestration.cluster.experiments import Experiments
from orchestration.cluster.loop_thread import LoopThread
from orchestration.cluster.settings import ClusterSettings
from orchestration.hardware import described
from orchestration.link import LinkSettings
from orchestration.report.report import build_report
from orchestration.sweep.inputs import Inputs
from tests.cluster_parts import Parts, device_report, served
from tests.hash_target import TOKENIZER_DIGEST, VOCABULARY

DEVICES = 2
CLUSTER: dict[str, Any] = {
    "verifier": {"model": {"model": "hash-model"}, "share_prefixes": False, "context": 512},
    "devices": {"count": DEVICES},
    "device": {"drafter": {"kind": "lookup"}},
}
SWEEP = """
name = "links"
[workload]
prompts = "prompts.jsonl"
[device]
max_new_tokens = 8
[machines]
target_token_ms = 30
[grid]
"link.preset" = ["loopback", "wifi"]
[sweep]
draft_lengths = [2]
journals = true
"""


@dataclass(frozen=True)
class Letters:
    """A language whose tokens are letters."""

    digest: bytes = TOKENIZER_DIGEST
    stop_tokens: tuple[int, ...] = ()

    def prompt(self, text: str, raw: bool = False) -> tuple[int, ...]:
        return tuple(ord(letter) % VOCABULARY for letter in text)


class LocalCrew:
    """Devices on a loop of their own, asked from another one. `spoil` may change an answer."""

    def __init__(self, world: Parts, loop: LoopThread) -> None:
        self.hung_up = 0
        self._world = world
        self._loop = loop

    async def answer(self, device: int, *asked: Any) -> Answered:
        return self.spoil(await asyncio.wrap_future(self._loop.start(self._world.devices[f"device-{device}"].answer(*asked))), *asked)

    async def hang_up(self, devices: int) -> None:
        self.hung_up += devices
        for device in self._world.devices.values():
            device.hang_up()

    def spoil(self, answered: Answered, *asked: Any) -> Answered:
        return answered


@pytest.fixture
def crew() -> Iterator[LocalCrew]:
    loop = LoopThread("world")

    async def start() -> Parts:
        world = Parts(**CLUSTER)
        for index in range(2):
            await world.replica(index, share_prefixes=False)
        for index in range(DEVICES):
            await world.device(index)
        return world

    world = loop.run(start(), 60)
    yield LocalCrew(world, loop)
    loop.run(world.close(), 60)
    loop.close()


def experiments(crew: LocalCrew) -> Experiments:
    return Experiments(crew, crew._world.desk.directory.snapshot(), Letters(), served())  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    prompts = [{"prompt": f"{word}, {word}, {word}", "task": "words"} for word in ("radio", "river", "robot")]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP)
    return path


def test_a_sweep_is_measured_resumed_and_reported(crew, file, tmp_path):
    asked = experiments(crew)
    outcome = asked.run(file, tmp_path / "runs")
    assert outcome.directory.name == "links-on-cluster" and not outcome.failures
    rows = {(row["kind"], row["link"]): row for row in outcome.rows}
    assert rows.keys() == {(kind, link) for kind in ("stream", "sequential", "policy") for link in ("as it is", "wifi")}
    for row in outcome.rows:
        assert (row["simulated"], row["failed"], row["responses"], row["tokens"]) == (False, 0, 3, 24)
        assert row["wire_bytes_up_per_token"] is None and row["predicted_tpot_s"] is None
        assert (row["target_token_s"] is not None) is (row["kind"] == "stream")
        assert row["device_source"] == row["verifier_source"] == "measured"
        assert 0 < row["duration_s"] < row["wall_s"]
    assert rows["stream", "wifi"]["round_trip_ms"] > 0 and rows["stream", "as it is"]["round_trip_ms"] is None
    assert rows["sequential", "wifi"]["tpot_s"] > rows["sequential", "as it is"]["tpot_s"]
    again = asked.run(file, tmp_path / "runs")
    assert (again.run, again.skipped) == (0, 6)
    text = build_report(outcome.directory).page.read_text()
    assert '<span class="real">real</span>' in text and "Who wins on each link" in text
    assert f"measured in real time, on emulated links. Devices: {described()}. Verifiers: {described()}." in text
    assert "virtual clock" not in text


def test_the_policies_of_one_link_are_measured_in_a_row(crew, file):
    cells = experiments(crew).plan(file).cells
    assert [cell.scenario.link.name for cell in cells] == ["loopback"] * 3 + ["wifi"] * 3
    assert len({cell.key for cell in cells}) == 6


def test_every_cell_begins_anew_and_devices_return_to_their_own_links(crew, file, tmp_path):
    asked = experiments(crew)
    asked.run(file, tmp_path / "runs")
    device = crew._world.devices["device-0"]
    assert device.report().link == "wifi"
    contract = asked.questions(asked.plan(file).cells[0].scenario).contract(0, device.plan.settings)
    crew._loop.run(device.answer(contract), 60)
    assert device.report().link == "no link"


def test_a_trace_travels_to_a_machine_that_does_not_have_it(crew):
    nowhere = Path("/nowhere/walk.csv")
    link = LinkSettings(trace=nowhere)
    files = Inputs({str(nowhere): (Path(__file__).parents[2] / "deploy" / "traces" / "walk.csv").read_bytes()})
    device = crew._world.devices["device-0"]
    settings = device.plan.settings.model_copy(update={"max_new_tokens": 8})
    contract = build_contract(Letters().prompt("radio"), settings, Letters(), served())  # type: ignore[arg-type]
    answered = crew._loop.run(device.answer(contract, None, Behind(link, "one", files)), 60)
    assert len(answered.tokens) == 8 and device.report().link == "walk"


def test_another_text_is_no_result(crew, file, tmp_path):
    def spoil(answered: Answered, contract: Any, settings: Any, behind: Any) -> Answered:
        wrong = settings.schedule != "stream" and behind.link.name == "wifi"
        return replace(answered, tokens=(*answered.tokens[:-1], (answered.tokens[-1] + 1) % VOCABULARY)) if wrong else answered

    crew.spoil = spoil
    outcome = experiments(crew).run(file, tmp_path / "runs")
    assert [one.failure.partition(":")[0] for one in outcome.failures] == ["internal", "internal"]
    assert "another one than under a policy measured before" in outcome.failures[0].failure and outcome.run == 4
    assert crew.hung_up == 2


def test_a_response_that_fails_is_counted_and_no_figure(crew, file, tmp_path):
    def spoil(answered: Answered, contract: Any, settings: Any, behind: Any) -> Answered:
        if contract.prompt == Letters().prompt("river, river, river"):
            raise UnavailableError("gone")
        return answered

    crew.spoil = spoil
    outcome = experiments(crew).run(file, tmp_path / "runs")
    assert {(row["failed"], row["responses"]) for row in outcome.rows} == {(1, 2)}


def test_a_cell_that_takes_too_long_is_given_up(crew, file, tmp_path):
    file.write_text("horizon_s = 0.000001\n" + SWEEP)
    outcome = experiments(crew).run(file, tmp_path / "runs")
    assert outcome.run == 0 and all("horizon_s" in one.failure for one in outcome.failures) and crew.hung_up == 6


def test_what_the_cluster_cannot_measure_is_refused_before_anything_is_asked(crew, file, tmp_path):
    def refusal(snapshot_changes: dict[str, Any] | None = None, text: str = SWEEP) -> str:
        file.write_text(text)
        asked = experiments(crew)
        asked.snapshot = replace(asked.snapshot, **(snapshot_changes or {}))
        with pytest.raises(SettingsError) as refused:
            asked.plan(file)
        return refused.value.message

    settings = ClusterSettings.parse({**CLUSTER, "verifier": {**CLUSTER["verifier"], "share_prefixes": True}})
    assert "share_prefixes = false" in refusal({"settings": settings})
    assert "asks for 3 devices, and this cluster has 2" in refusal(text="devices = 3\n" + SWEEP)
    busy = [replace(status, state="answering") for status in experiments(crew).snapshot.devices[:1]]
    assert "answering somebody already: device-0" in refusal({"devices": tuple(busy)})
    narrow = ClusterSettings.parse({**CLUSTER, "verifier": {**CLUSTER["verifier"], "context": 16}})
    assert "verifier.context is 16" in refusal({"settings": narrow})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workload": {"recording": ["a.msgpack.z"]}}, "workload.recording answers in simulations only"),
        ({"verifier": {"slots": 7}}, "verifier.slots is 7, and"),
        ({"verifier": {"model": {"model": "other"}}}, "verifier.model.model is 'other', and 'hash-model' on this cluster"),
        ({"verifiers": 5}, "verifiers is 5, and 1"),
        ({"device": {"drafter": {"kind": "random"}}}, "device.drafter.kind is 'random', and 'lookup'"),
        ({"grid": {"verifier.slots": [1, 2]}}, "verifier.slots cannot vary on a cluster"),
        ({"grid": {"device.drafter.kind": ["lookup"]}}, "device.drafter.kind cannot vary"),
        ({"grid": {"device": [{}]}}, "device cannot vary"),
        ({"grid": {"machines.target_token_ms": [1, 2]}}, "machines.target_token_ms cannot vary"),
    ],
)
def test_what_contradicts_the_cluster_is_refused(change, words):
    values = {"workload": {"prompts": "prompts.jsonl"}, **change}
    with pytest.raises(SettingsError) as refused:
        placing.placed(values, ClusterSettings.parse(CLUSTER), "sweep.toml")
    assert words in refused.value.message and refused.value.message.startswith("sweep.toml: ")


def test_a_scenario_takes_what_the_cluster_decides():
    given = {"workload": {"prompts": "p"}, "verifier": {"context": 512}, "connection": {}, "sweep": {"baselines": ["device", "stream"]}}
    found = placing.placed(given, ClusterSettings.parse(CLUSTER), "sweep.toml")
    assert found["verifier"]["model"]["model"] == "hash-model" and found["device"]["drafter"]["kind"] == "lookup"
    assert found["sweep"]["baselines"] == ["stream"] and "connection" not in found
    assert placing.left_out(given) == ["connection", "the baseline 'device'"]
    assert "connection" in given


def test_another_cluster_is_another_place(crew):
    snapshot = experiments(crew).snapshot
    moved = tuple(replace(status, report=device_report(node="10.0.0.9 (abcdef)")) for status in snapshot.devices)
    larger = ClusterSettings.parse({**CLUSTER, "replicas": {"shards": 2}})
    places = [placing.place_of(one) for one in (snapshot, replace(snapshot, devices=moved), replace(snapshot, settings=larger))]
    assert len(set(places)) == 3 and placing.place_of(experiments(crew).snapshot) == places[0]
