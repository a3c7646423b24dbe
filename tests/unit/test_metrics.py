"""The figures of a summary, from records small enough to count by hand."""

import numpy as np
import pytest

from airdraft.journal import ResponseRecord, RoundRecord
from airdraft.messages import Finish, Outcome, Timings
from orchestration import metrics
from orchestration.metrics import fairness, figures, resampled_sums, response_row, summarise
from orchestration.summary import RESPONSES, SUMMARY


def round_(drafted, accepted, *, token=True, kind="draft", outcome=Outcome.JUDGED, queue_s=0.0, batch=1):
    tokens = tuple(range(accepted + token))
    timings = Timings(queue_s=queue_s, forward_s=0.1, share_s=0.1, batch=batch)
    return RoundRecord(kind, 1, 1, 10, 0.0, 1.0, 0.01, tuple(range(drafted)), accepted, tokens, outcome, 30, 20, None, timings)


def response(rounds, bursts, *, device="0", started_s=0.0, **of):
    numbers = {"bytes_up": 100, "bytes_down": 60, "target_s": 0.6, "draft_s": 0.3, "draft_steps": 9, "reconnects": 1} | of
    return ResponseRecord("p", device, 12, (), Finish.LENGTH, started_s, tuple(bursts), numbers, tuple(rounds))


ONE = response(
    [
        round_(0, 0, kind="open", token=False, batch=0),
        round_(4, 2),  # two right, the third wrong
        round_(4, 4, queue_s=0.2, batch=3),  # all right, and one more
        round_(4, 0, outcome=Outcome.STALE, token=False),
        round_(1, 1, token=False),  # cut off by the end of the response
    ],
    [(1.0, 3), (1.5, 5), (3.0, 1)],
    framed_bytes_up=400,
    framed_bytes_down=300,
)


def test_a_response_is_summed_up_by_hand():
    one = figures(ONE)
    assert (one.tokens, one.rounds, one.drafted, one.accepted, one.from_verdicts) == (9, 3, 9, 7, 9)
    assert (one.ttft_s, one.later_s, one.later_tokens, one.response_s) == (1.0, 2.0, 8, 3.0)
    assert (one.answers, one.batches) == (4, 6)


def test_a_summary_of_one_response_has_the_metrics_as_they_are_defined():
    row = summarise([ONE])
    assert row["accepted_length"] == pytest.approx(7 / 3)
    assert row["tokens_per_round"] == 3
    assert row["acceptance_rate"] == pytest.approx(7 / 9)
    assert row["rounds_per_response"] == 3
    assert row["bytes_up_per_token"] == pytest.approx(100 / 9)
    assert row["wire_bytes_down_per_token"] == pytest.approx(300 / 9)
    assert row["tpot_s"] == 0.25 and row["ttft_s"] == 1.0
    assert row["target_s_per_token"] == pytest.approx(0.6 / 9)
    assert row["wasted_drafts_per_token"] == pytest.approx((9 - 7) / 9)
    assert row["judged_by_position"] == [3, 2, 2, 1]
    assert row["acceptance_by_position"] == [1, 1, 0.5, 1]
    assert row["gap_p50_s"] == 1.0
    assert row["queue_s_per_round"] == pytest.approx(0.05) and row["batch_mean"] == 1.5
    assert row["duration_s"] == 3 and row["tokens_per_s"] == 3
    assert row["reconnects"] == 1 and row["fairness"] is None
    assert row["accepted_length_low"] == row["accepted_length_high"] == row["accepted_length"]


def test_every_figure_has_its_column():
    assert set(summarise([ONE, response([], [(1.0, 2)], device="1")])) <= {column.name for column in SUMMARY}
    assert set(response_row(ONE)) <= {column.name for column in RESPONSES}


def test_ratios_are_of_sums_not_means_of_ratios():
    short, long = response([round_(1, 1)], [(1.0, 1), (2.0, 1)]), response([round_(1, 0)] * 9, [(1.0, 1), (10.0, 9)])
    row = summarise([short, long])
    assert row["acceptance_rate"] == pytest.approx(1 / 10)
    assert row["tpot_s"] == pytest.approx((1 + 9) / (1 + 9))


def test_an_interval_holds_the_figure_and_narrows_with_more_responses():
    def some(count):
        return [response([round_(4, number % 5)], [(1.0, 1), (2.0 + number % 5, 4)]) for number in range(count)]

    few, many = summarise(some(10)), summarise(some(100))
    for row in (few, many):
        assert row["tpot_s_low"] < row["tpot_s"] < row["tpot_s_high"]
        assert row["accepted_length_low"] < row["accepted_length"] < row["accepted_length_high"]
    assert many["tpot_s_high"] - many["tpot_s_low"] < 0.5 * (few["tpot_s_high"] - few["tpot_s_low"])
    assert summarise(some(10)) == few


def test_in_a_fleet_devices_are_resampled():
    def of(device, seconds):
        return [response([round_(4, 2)], [(1.0, 1), (1.0 + seconds, 4)], device=device) for _ in range(20)]

    alike = summarise([record for device in "abcd" for record in of(device, 2.0)])
    apart = summarise([record for device, seconds in zip("abcd", (1, 1, 1, 5), strict=True) for record in of(device, seconds)])
    assert alike["tpot_s_high"] == alike["tpot_s_low"]
    assert apart["tpot_s_high"] > 1.4 * apart["tpot_s_low"]
    assert alike["fairness"] == pytest.approx(1) and apart["fairness"] < 0.95


def test_nothing_answered_gives_nothing_but_counts():
    assert summarise([]) == {"responses": 0, "tokens": 0}


def test_a_stream_has_no_rounds_and_no_acceptance():
    row = summarise([response([round_(0, 0, kind="stream")] * 3, [(1.0, 1), (2.0, 1), (3.0, 1)])])
    assert row["rounds_per_response"] == 0 and row["acceptance_rate"] is None and row["accepted_length_low"] is None
    assert row["tpot_s"] == 1.0


def test_resampled_sums_are_the_same_in_parts_and_have_the_right_mean(monkeypatch):
    values = np.random.default_rng(1).random((50, 3))
    whole = resampled_sums(values)
    assert whole.shape == (metrics.RESAMPLES, 3)
    error = values.std(axis=0) * np.sqrt(50 / metrics.RESAMPLES)  # of a mean of sums
    assert (np.abs(whole.mean(axis=0) - values.sum(axis=0)) < 4 * error).all()
    monkeypatch.setattr(metrics, "MATRIX_LIMIT", 50 * 100)
    assert resampled_sums(values).shape == whole.shape


def test_jains_index_is_one_for_equals_and_one_nth_for_a_single_winner():
    assert fairness(np.array([3.0, 3.0, 3.0])) == pytest.approx(1)
    assert fairness(np.array([3.0, 0.0, 0.0])) == pytest.approx(1 / 3)
    assert fairness(np.zeros(3)) is None
