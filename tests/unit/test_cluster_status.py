"""What status shows and metrics count: every figure has a value, sums only grow, and nothing is lost on the way to JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from orchestration.cluster import status_table
from orchestration.cluster.directory import Directory
from orchestration.cluster.figures import DEVICE_FIGURES, REPLICA_FIGURES, growth
from orchestration.cluster.gauges import RayGauges
from orchestration.cluster.settings import ClusterSettings
from tests.cluster_parts import device_report, replica_report, served

COUNTS = {
    "opened": 3.0, "resumed": 1.0, "finished": 2.0, "rounds": 10.0, "drafted": 40.0, "accepted": 25.0, "stale": 1.0, "emitted": 50.0,
    "streamed": 5.0, "errors": 1.0, "forwards": 20.0, "sequences": 30.0, "rows": 90.0, "forward_s": 0.5, "bytes_up": 1000.0,
    "bytes_down": 1500.0,
}  # fmt: skip


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def directory() -> tuple[Directory, Clock]:
    clock = Clock()
    made = Directory(ClusterSettings(), clock)
    made.report_replica(replica_report(counts=COUNTS, served=served(sessions=2, queued_rows=7)))
    made.report_device(device_report(replica="10.0.0.0:50051", counts={"responses": 2.0, "tokens": 50.0, "rounds": 10.0, "accepted": 25.0}))
    return made, clock


def printed(content, width: int = 250) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(content)
    return console.file.getvalue()


def test_the_table_shows_load_work_and_cost():
    text = printed(status_table.shown(directory()[0].snapshot()))
    row = next(line for line in text.splitlines() if line.startswith("verifier-0"))
    for cell in ("serving", "10.0.0.0:50051", "2/4", "1/4", " 7 ", " 10 ", "2.50", " 50 ", "1.50", "25.0 ms", "20.00", "30.00"):
        assert cell in row, cell
    row = next(line for line in text.splitlines() if line.startswith("device-0"))
    for cell in ("idle", "5g", "lookup", "10.0.0.0:50051", "2.50"):
        assert cell in row, cell


def test_the_speed_is_that_since_the_last_look():
    made, clock = directory()
    before = made.snapshot()
    clock.now_s += 2.0
    made.report_replica(replica_report(counts=COUNTS | {"emitted": 75.0}))
    assert "12.5" in printed(status_table.shown(made.snapshot(), before))


def test_a_narrow_terminal_shows_whole_words_and_says_what_is_missing():
    text = printed(status_table.shown(directory()[0].snapshot()), width=80)
    assert "…" not in text and all(len(line) <= 80 for line in text.splitlines())
    row = next(line for line in text.splitlines() if line.startswith("verifier-0"))
    assert "serving" in row and "2/4" in row and "2.50" in row
    assert "(a wider terminal shows also: node" in text and "wider" not in printed(status_table.shown(directory()[0].snapshot()))


def test_metrics_take_names_in_any_letters():
    pytest.importorskip("ray", reason="the cluster extra is not installed")
    gauges = RayGauges()
    for name in ("fähre", "フェリー", "—"):
        gauges.set_device(device_report(link=name))
        gauges.set_replica(replica_report(served=replace(served(), model=name)))


def test_silence_is_shown_with_its_length():
    made, clock = directory()
    clock.now_s += 125.0
    assert "silent for 2 min 5 s" in printed(status_table.shown(made.snapshot()))


def test_a_cluster_that_has_done_nothing_shows_dashes():
    made = Directory(ClusterSettings(), Clock())
    made.report_replica(replica_report())
    assert "—" in printed(status_table.shown(made.snapshot()))


def test_the_json_is_json_and_holds_everything():
    known = json.loads(json.dumps(status_table.as_json(directory()[0].snapshot())))
    assert known["replicas"][0]["counts"] == COUNTS
    assert known["replicas"][0]["report"]["served"]["load"]["queued_rows"] == 7
    assert bytes.fromhex(known["replicas"][0]["report"]["served"]["tokenizer_digest"])
    assert known["devices"][0]["report"]["name"] == "device-0" and known["settings"]["replicas"]["count"] == 1


def test_every_figure_of_a_replica_and_a_device_has_a_name_of_its_own_and_reads():
    names = [figure.name for figure in (*REPLICA_FIGURES, *DEVICE_FIGURES)]
    assert len(set(names)) == len(names)
    report = replica_report(counts=COUNTS, served=served(sessions=2, queued_rows=7))
    values = {figure.name: figure.read(report) for figure in REPLICA_FIGURES}
    assert {name: values[f"airdraft_{name}"] for name in COUNTS if not name.endswith("_s")} == {
        name: value for name, value in COUNTS.items() if not name.endswith("_s")
    }
    assert (values["airdraft_forward_seconds"], values["airdraft_sessions"], values["airdraft_queued_rows"]) == (0.5, 2, 7)
    assert {figure.read(device_report()) for figure in DEVICE_FIGURES} == {0.0}


def test_a_sum_grows_by_what_was_added_and_never_shrinks():
    rounds = next(figure for figure in REPLICA_FIGURES if figure.name == "airdraft_rounds")
    assert growth({}, rounds, replica_report(counts=COUNTS)) == 10.0
    assert growth({"airdraft_rounds": 8.0}, rounds, replica_report(counts=COUNTS)) == 2.0
    assert growth({"airdraft_rounds": 80.0}, rounds, replica_report(counts=COUNTS)) == 0.0
