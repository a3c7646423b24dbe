"""Devices and verifiers together in virtual time, answering from a recording."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from airdraft.errors import InternalError
from orchestration.baselines import alone
from orchestration.cell import Cell, kind_of
from orchestration.experiment import prepare
from orchestration.fleet import Fleet
from orchestration.replay_material import ReplayMaterial
from orchestration.scenario import Scenario
from tests.made_up_recording import recording, values

RECORDING = recording(count=6, tokens=24)
MATERIAL = ReplayMaterial((RECORDING,))


def fleet(**changes):
    scenario = Scenario.parse(values(Path("/r.z")) | changes)
    ready = prepare(Cell(scenario, kind_of(scenario)), MATERIAL)
    return Fleet(scenario, MATERIAL, ready.prompts, ready.device, ready.verifier)


def test_every_device_brings_the_recorded_response_of_its_prompts():
    result = fleet(devices=4, workload={"recording": ["/r.z"], "responses": 2}).run()
    assert [(one.device, one.prompt) for one in result.responses] == [
        (0, 0), (0, 4), (1, 1), (1, 5), (2, 2), (2, 0), (3, 3), (3, 1)
    ]  # fmt: skip
    for one in result.responses:
        assert one.record.tokens == RECORDING.entries[one.prompt].response


def test_the_same_scenario_runs_the_same_and_another_seed_another_way():
    changes = {"devices": 3, "link": {"preset": "lte"}, "workload": {"recording": ["/r.z"], "arrivals": "poisson", "arrivals_per_s": 2}}
    assert fleet(**changes).run() == fleet(**changes).run()
    assert fleet(**changes).run() != fleet(seed=1, **changes).run()


def test_a_round_costs_what_the_profiles_and_the_link_say():
    link = {"round_trip_ms": 100, "jitter_ms": 0, "loss": 0}
    one = fleet(link=link, machines={"draft_step_ms": 10, "target_token_ms": 60, "row_share": 0.0}).run().responses[0].record
    later = [record for record in one.rounds if record.kind == "draft"][1:-1]
    for record in later:
        assert record.arrived_s - record.sent_s == pytest.approx(0.100 + 0.060, abs=1e-6)
    drafted = [late.sent_s - early.arrived_s for early, late in pairwise(later)]
    assert drafted == pytest.approx([0.040] * len(drafted), abs=1e-6)


def test_devices_share_the_verifiers_and_more_verifiers_queue_less():
    queues = [
        sum(record.timings.queue_s for one in fleet(devices=8, verifiers=count).run().responses for record in one.record.rounds)
        for count in (1, 2, 8)
    ]
    assert queues[0] > queues[1] > queues[2]


def test_busy_time_is_at_most_the_verifiers_time():
    result = fleet(devices=8, verifiers=2).run()
    last_s = max(one.record.bursts[-1][0] for one in result.responses)
    assert 0.3 * last_s < result.verifiers_busy_s < 2 * last_s


def test_devices_start_when_they_arrive_and_pause_to_think():
    workload = {"recording": ["/r.z"], "arrivals": "every", "every_s": 5, "responses": 2, "think_s": 2}
    result = fleet(devices=2, workload=workload).run()
    starts = [one.record.started_s for one in result.responses]
    assert starts[0] == 0 and starts[2] == 5
    assert all(starts[index + 1] > result.responses[index].record.bursts[-1][0] for index in (0, 2))


def test_more_devices_than_places_wait_their_turn_and_all_are_answered():
    result = fleet(devices=6, verifier={"sessions": 2, "slots": 2, "protected_s": 0}).run()
    assert all(one.record is not None for one in result.responses)


def test_a_response_that_fails_is_reported_and_the_others_go_on():
    device = {"fallback": {"then": "stop", "deadline_s": 0.2}, "draft_length": 4}
    result = fleet(devices=3, link={"round_trip_ms": 300, "jitter_ms": 0}, device=device).run()
    assert [one.failure.partition(":")[0] for one in result.responses] == ["unavailable.link_lost"] * 3


def test_another_text_than_the_recorded_one_is_a_fault_of_our_own():
    class Astray(ReplayMaterial):
        def expected(self, prompt, device):
            return (1, 2, 3)

    with pytest.raises(InternalError, match="not the recorded one"):
        replace(fleet(), material=Astray((RECORDING,))).run()


def test_random_channels_differ_from_device_to_device():
    link = {"preset": "5g", "channel": "rayleigh", "parameters": {"mean_snr_db": 3.0}, "bandwidth_mhz": 0.2}
    result = fleet(devices=2, link=link, workload={"recording": ["/r.z"], "tasks": ["easy"]}).run()
    first, second = (one.record for one in result.responses)
    assert [burst[0] for burst in first.bursts] != [burst[0] for burst in second.bursts]


def test_the_drafter_alone_takes_a_prefill_and_a_step_per_token():
    scenario = fleet().scenario
    result = alone(scenario, MATERIAL, (0, 1), scenario.machines.device_profile())
    first, second = (one.record for one in result.responses)
    assert first.bursts[0][0] == pytest.approx(0.010 * (1 + 0.02 * 11))  # twelve tokens of prompt
    assert first.bursts[-1][0] - first.bursts[0][0] == pytest.approx(23 * 0.010)
    assert second.started_s == first.bursts[-1][0] and sum(count for _, count in first.bursts) == 24
    assert math.isclose(first.figures["draft_s"], first.bursts[-1][0])
