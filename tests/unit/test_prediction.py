"""The cost model beside the measurement: its terms from a scenario, and how its choice of draft length is judged."""

import math
from pathlib import Path

import pytest

from orchestration import baselines, cost_model
from orchestration.cell import Cell, Kind
from orchestration.machines import MachinesSettings
from orchestration.material import Overlap
from orchestration.prediction import best_lengths, cell_costs, mark_best, predict, tokens_per_round
from orchestration.scenario import Scenario
from tests.made_up_recording import values

MACHINES = MachinesSettings.parse({"draft_step_ms": 10, "target_token_ms": 60, "row_share": 0.05})
EVEN = (Overlap(100, 0.8),)
PAIR = (MACHINES.device_profile(), MACHINES.verifier_profile())


def scenario(**changes):
    return Scenario.parse(values(Path("/r.z")) | changes)


def test_costs_are_the_profiles_figures_and_the_links():
    costs = cell_costs(scenario(link={"round_trip_ms": 100, "jitter_ms": 0, "loss": 0}), PAIR)
    assert costs.draft_step_s == pytest.approx(0.010)
    assert costs.verify_s(1) == pytest.approx(0.060) and costs.verify_s(5) == pytest.approx(0.072)
    assert costs.round_trip_s == pytest.approx(0.100) and costs.transfer_per_token_s == 0


def test_a_slow_link_adds_transfers_and_a_lossy_one_its_timeouts():
    slow = cell_costs(scenario(link={"round_trip_ms": 100, "uplink_mbps": 0.1, "downlink_mbps": 0.1}), PAIR)
    assert 0.115 < slow.round_trip_s < 0.130  # some 110 framed bytes each way at 100 kbit/s
    assert slow.transfer_per_token_s == pytest.approx(3 * 8 / 1e5)
    lossy = cell_costs(scenario(link={"round_trip_ms": 100, "loss": 0.1}), PAIR)
    assert lossy.round_trip_s == pytest.approx(0.1 + 2 * 0.1 * (0.1 + 0.2))


def test_the_model_is_silent_on_changing_channels_and_fleets():
    assert cell_costs(scenario(link={"preset": "bursty"}), PAIR) is None
    assert cell_costs(scenario(devices=2), PAIR) is None
    assert predict(Cell(scenario(devices=2), Kind.SEQUENTIAL), PAIR, EVEN) == {}


def test_each_kind_of_row_gets_the_prediction_that_belongs_to_it():
    base = scenario(link={"round_trip_ms": 50})
    costs = cell_costs(base, PAIR)
    drafting = predict(Cell(base, Kind.SEQUENTIAL), PAIR, EVEN)
    assert drafting["predicted_tpot_s"] == cost_model.drafting_token_s(costs, 0.8, 4)
    assert drafting["predicted_tokens_per_round"] == pytest.approx((1 - 0.8**5) / 0.2)
    assert drafting["predicted_best_draft_length"] == cost_model.best_draft_length(costs, 0.8, 16)
    assert drafting["predicted_break_even_ms"] > 50
    assert predict(Cell(baselines.stream(base), Kind.STREAM), PAIR, EVEN)["predicted_tpot_s"] == pytest.approx(0.060)
    assert predict(Cell(baselines.device(base), Kind.DEVICE), PAIR, EVEN)["predicted_tpot_s"] == pytest.approx(0.010)
    assert "predicted_tpot_s" not in predict(Cell(base, Kind.POLICY), PAIR, EVEN)
    assert "predicted_best_draft_length" not in predict(Cell(base, Kind.SEQUENTIAL), PAIR, ())


def test_the_break_even_round_trip_is_where_drafting_takes_as_long_as_streaming():
    at = predict(Cell(scenario(link={"round_trip_ms": 0}), Kind.SEQUENTIAL), PAIR, EVEN)["predicted_break_even_ms"]
    found = [predict(Cell(scenario(link={"round_trip_ms": at + more}), Kind.SEQUENTIAL), PAIR, EVEN) for more in (-1, 1)]
    best = [min(_tpot(at + more, length) for length in range(1, 17)) for more in (-1, 1)]
    assert best[0] < found[0]["predicted_stream_tpot_s"] < best[1]


def _tpot(round_trip_ms, length):
    base = scenario(link={"round_trip_ms": round_trip_ms}, device={"draft_length": length})
    return predict(Cell(base, Kind.SEQUENTIAL), PAIR, EVEN)["predicted_tpot_s"]


def test_prompts_that_differ_take_more_rounds_than_their_mean():
    apart = (Overlap(100, 0.6), Overlap(100, 1.0))
    assert tokens_per_round(EVEN, 4) == pytest.approx(cost_model.expected_tokens(0.8, 4))
    assert tokens_per_round(apart, 4) == pytest.approx(200 / (100 / cost_model.expected_tokens(0.6, 4) + 100 / 5))
    assert tokens_per_round(apart, 4) < tokens_per_round(EVEN, 4)


def row(environment, length, tpot_s, predicted, kind="sequential"):
    return {
        "environment": environment, "kind": kind, "draft_length": length, "tpot_s": tpot_s, "predicted_best_draft_length": predicted,
        "link": "5g", "round_trip_ms": 17.0, "draft_step_s": 0.01, "target_token_s": 0.06, "task": "qa",
    }  # fmt: skip


def test_the_best_length_found_is_compared_with_the_predicted_one_in_every_environment():
    rows = [row("a", length, abs(length - 4) + 1.0, 5) for length in range(1, 9)]
    rows += [row("b", length, abs(length - 4) + 1.0, 7) for length in range(1, 9)]
    rows += [row("e", length, 1.0, 7) for length in (1, 2, 4)]  # a search with gaps cannot tell
    rows += [row("c", 4, None, 5), row("c", 5, 1.0, 5), row("d", 4, 1.0, 9, kind="local")]
    agreement = best_lengths(rows)
    assert [(one.environment, one.found, one.predicted) for one in agreement.lengths] == [("a", 4, 5), ("b", 4, 7)]
    assert agreement.share == 0.5 and not agreement.holds
    (exception,) = agreement.exceptions
    assert exception.environment == "b" and exception.lost == pytest.approx(3.0) and exception.conditions["task"] == "qa"


def test_a_predicted_length_that_was_not_run_has_no_known_loss():
    (one,) = best_lengths([row("a", 1, 2.0, 7), row("a", 2, 1.0, 7)]).lengths
    assert math.isnan(one.lost)


def test_no_environment_at_all_is_no_disagreement():
    assert best_lengths([]).holds


def test_of_equals_the_shortest_is_best_and_each_kind_has_its_own():
    rows = [row("a", 2, 1.0, 2), row("a", 1, 1.0, 2), row("b", 1, 3.0, 2), row("a", 3, 0.5, 2, kind="local"), row("a", 4, None, 2)]
    rows.append({"environment": "a", "kind": "stream", "tpot_s": 0.1})
    mark_best(rows)
    assert [one["best_fixed"] for one in rows] == [False, True, True, True, False, False]
