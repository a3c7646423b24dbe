"""What a report says in words follows from the rows."""

from orchestration.prediction import mark_best
from orchestration.report import words
from orchestration.report.duels import Winner, conditions, duels
from orchestration.report.lengths import by_task, wilson
from orchestration.report.run import read_run
from tests.made_up_run import drafts, row, two_places, written_run


def found(tmp_path, rows=None):
    return duels(read_run(written_run(tmp_path, rows)).rows)


def test_the_best_fixed_length_meets_the_stream_of_its_environment(tmp_path):
    near, far = found(tmp_path)
    assert (near.drafting["draft_length"], near.winner, round(near.speed, 6)) == (4, Winner.DRAFTING, 2.0)
    assert (far.drafting["draft_length"], far.winner, round(far.speed, 6)) == (8, Winner.STREAMING, round(0.06 / 0.09, 6))


def test_overlapping_intervals_have_no_winner(tmp_path):
    rows = [row("s", "here", "stream", tpot_s=0.060), drafts("d", "here", 4, 0.0595)]
    assert [duel.winner for duel in found(tmp_path, rows)] == [Winner.NEITHER]


def test_the_sentences_say_where_each_side_wins(tmp_path):
    fights = found(tmp_path)
    assert words.wins_by_target(fights) == [
        "Target 60 ms per token: drafting wins at 5 ms of round trip; streaming wins at 200 ms of round trip."
    ]
    said = " ".join(words.summary(read_run(tmp_path)))
    assert "Of 2 sets of conditions" in said and "in 1, streaming in 1; in 0" in said
    assert "gains most with link 5g of 5 ms" in said and "loses most with link 5g of 200 ms" in said
    assert "1 of 2 sets of conditions (50%), which MISSES the bar of 80%" in said
    assert "simulated on a virtual clock" in said


def test_the_winner_changes_with_the_figures(tmp_path):
    rows = two_places()
    for one in rows:
        if one["kind"] == "stream":
            one |= {"tpot_s": 0.01, "tpot_s_low": 0.0098, "tpot_s_high": 0.0102}
    fights = found(tmp_path, rows)
    assert {duel.winner for duel in fights} == {Winner.STREAMING} and "in 0, streaming in 2" in words.overall(fights)
    assert not any("gains most" in line for line in words.extremes(fights))


def test_changing_links_are_told_one_by_one(tmp_path):
    trace = {"link": "drive.csv", "channel": "trace", "round_trip_ms": None}
    rows = [row("s", "here", "stream", tpot_s=0.06, **trace), drafts("d", "here", 4, 0.03, **trace)]
    (line,) = words.wins_by_link(found(tmp_path, rows))
    assert "drive.csv" in line and "30.0 ms per token drafted (k=4), 60.0 streamed; drafting wins." in line


def test_real_links_are_told_one_by_one_though_their_round_trips_are_fixed(tmp_path):
    real = {"simulated": False, "link": "5g", "round_trip_ms": 17.0}
    rows = [row("s", "here", "stream", tpot_s=0.06, **real), drafts("d", "here", 4, 0.03, **real)]
    mark_best(rows)
    fights = duels(rows)
    (line,) = words.wins_by_link(fights)
    assert "5g of 17 ms" in line and line.endswith("drafting wins.") and words.wins_by_target(fights) == []


def test_failures_and_missing_cells_are_confessed(tmp_path):
    rows = two_places()
    rows[0]["failed"] = 3
    run = read_run(written_run(tmp_path, rows, cells=[*(one["cell"] for one in rows), "gone"]))
    said = " ".join(words.reservations(run))
    assert "3 responses failed" in said and "1 of 16 cells have no result" in said


def test_a_run_without_both_sides_says_so(tmp_path):
    run = read_run(written_run(tmp_path, [row("s", "here", "stream")]))
    assert words.summary(run)[0] == words.NOTHING


def test_conditions_leave_out_policy_and_the_maps_axes():
    axes = '{"device.draft_length": 4, "link.round_trip_ms": 5, "workload.recording": "/a/b/text.msgpack.z", "machines.draft_step_ms": 20}'
    assert conditions(row("c", "e", "stream", axes=axes)).split(", ") == ["text", "draft step ms 20"]


def test_accepted_lengths_are_told_by_task(tmp_path):
    easy, hard = by_task(read_run(written_run(tmp_path)))
    assert (easy.task, easy.mean, easy.rate, easy.draft_length, easy.prompts) == ("easy", 3.2, 0.8, 4, 2)
    assert (hard.task, hard.mean) == ("hard", 1.1)
    assert easy.low <= easy.mean <= easy.high


def test_the_wilson_interval_is_the_textbooks():
    low, high = wilson(0.5, 100)
    assert abs(low - 0.4038) < 5e-4 and abs(high - 0.5962) < 5e-4
