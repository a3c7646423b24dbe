import json

from rich.console import Console

from airdraft.messages import Contract, RuleChoice
from airdraft.settings import Sampling
from airdraft.transport import Traffic
from edge.seams import Origin
from edge.statistics import ResponseStatistics
from orchestration.cli import summary
from orchestration.cli.summary import Response


def contract(**others) -> Contract:
    return Contract(1, "target", b"digest", 100, (1, 2, 3), max_new_tokens=4, stop_tokens=(99,), **others)


def statistics() -> ResponseStatistics:
    """Three rounds of two drafted tokens, all in known times."""
    return ResponseStatistics(
        started_s=10.0, rounds=3, drafted=6, accepted=4, judged_at=[3, 2], accepted_at=[2, 2], from_verdicts=7, draft_steps=6,
        traffic=Traffic(bytes_up=70, bytes_down=140, messages_up=4, messages_down=5), reconnects=1, target_s=0.7, draft_s=0.3,
        bursts=[(10.5, 3), (10.6, 3), (11.1, 1)],
    )  # fmt: skip


def test_the_table_shows_both_conventions_of_accepted_length_labelled() -> None:
    figures = dict(summary.rows(statistics()))
    assert figures["accepted per round"] == "1.33"
    assert figures["tokens per round (accepted + 1)"] == "2.33"
    assert figures["acceptance rate"].startswith("67% of 6 drafted")
    assert "0.67 1.00" in figures["acceptance rate"]
    assert figures["bytes up / down per token"] == "10.0 / 20.0"
    assert figures["messages up / down"] == "4 / 5"
    assert figures["time to first token"] == "500 ms"
    assert figures["time per output token"] == "100 ms"
    assert figures["pauses between bursts p50 / p95"] == "100 ms / 500 ms"
    assert figures["target seconds per token"] == "0.100 s"
    assert figures["reconnects"] == "1"


def test_what_does_not_apply_is_a_dash_not_a_zero() -> None:
    figures = dict(summary.rows(ResponseStatistics()))
    assert figures["accepted per round"] == figures["acceptance rate"] == figures["time to first token"] == "—"
    streamed = dict(summary.rows(ResponseStatistics(bursts=[(1.0, 1), (1.2, 1)])))
    assert streamed["accepted per round"] == "—" and streamed["time per output token"] == "200 ms"


def test_two_responses_stand_side_by_side() -> None:
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(summary.table({"drafted": statistics(), "streamed": ResponseStatistics()}))
    assert "drafted" in capture.get() and "streamed" in capture.get() and "67% of 6 drafted" in capture.get()


def test_percentiles_are_of_the_values_themselves() -> None:
    assert summary.percentile([], 0.5) is None
    assert summary.percentile([3.0, 1.0], 0.5) == 1.0
    assert summary.percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert summary.percentile([5.0], 0.95) == 5.0


def test_a_response_says_why_it_ended() -> None:
    assert summary.finish_of(contract(), [5, 99]) == "stop_token"
    assert summary.finish_of(contract(), [5, 6, 7, 8]) == "length"
    assert summary.finish_of(contract(), [5, 6]) == "capacity"


def test_the_json_summary_holds_every_setting_that_decided_the_text() -> None:
    chosen = contract(sampling=Sampling(temperature=0.5, top_k=7, top_p=0.9, seed=3), rule=RuleChoice("exact", (("a", 1.0),)))
    values = json.loads(json.dumps(summary.as_json(Response(chosen, (5,), "text", statistics(), "interrupted"))))
    assert values["sampling"] == {"temperature": 0.5, "top_k": 7, "top_p": 0.9, "seed": 3}
    assert values["rule"] == {"name": "exact", "parameters": {"a": 1.0}}
    assert values["type"] == "summary" and values["finish"] == "interrupted" and values["text"] == "text"
    assert values["accepted_per_round"] == 4 / 3 and values["tokens_per_round"] == 7 / 3
    assert set(values["origins"]) == {origin.value for origin in Origin}
