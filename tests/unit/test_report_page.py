"""The pictures and pages that a report is made of."""

import json
import re

import pytest
from typer.testing import CliRunner

from airdraft.errors import SettingsError
from orchestration.cli.application import application
from orchestration.report import timelines
from orchestration.report.figure import LeftOut, Picture
from orchestration.report.report import build_report
from orchestration.report.run import read_run
from tests.made_up_run import drafts, row, two_places, written_journal, written_run

PNG = b"\x89PNG"
TRACE = {"link": "drive.csv", "channel": "trace", "round_trip_ms": None}


def test_the_page_holds_its_pictures_and_fetches_nothing(tmp_path):
    made = build_report(written_run(tmp_path))
    text = made.page.read_text()
    assert text.count('src="data:image/png;base64,') == len(made.pictures) >= 5
    assert not re.search(r"https?://|<link|<script|@import", text)
    assert "simulated" in text and "Left out" in text
    for picture in made.pictures:
        data = (made.page.parent / f"{picture.name}.png").read_bytes()
        assert data.startswith(PNG) and b"run made_up" in data  # the stamp stands in its metadata too


def test_what_has_no_data_is_left_out_with_its_reason(tmp_path):
    made = build_report(written_run(tmp_path))
    reasons = {one.title: one.reason for one in made.left_out}
    assert "journal" in reasons["Timelines over changing links"] and "one device" in reasons["Fleet capacity"]
    assert all(reason in made.page.read_text() for reason in reasons.values())


def test_nothing_is_written_for_a_run_that_is_not_what_it_states(tmp_path):
    written_run(tmp_path, digests={})
    with pytest.raises(SettingsError):
        build_report(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("told", [True, False])
def test_a_timeline_is_drawn_from_the_journal(tmp_path, told):
    written_run(tmp_path, [*two_places(), drafts("t", "drive", 4, 0.04, **TRACE)])
    written_journal(tmp_path, "t", told)
    (picture,) = timelines.draw(read_run(tmp_path))
    assert isinstance(picture, Picture) and picture.png.startswith(PNG)
    assert ("as its modem told it" in picture.caption) is told


def test_a_steady_link_has_no_timeline(tmp_path):
    written_run(tmp_path)
    written_journal(tmp_path, "d5-4")
    assert [type(one) for one in timelines.draw(read_run(tmp_path))] == [LeftOut]


def test_a_fleet_has_its_curves(tmp_path):
    rows = [
        row(
            f"f{rate}", f"fleet{rate}", "stream", devices=50, settings=json.dumps({"workload": {"arrivals_per_s": rate}}), tokens_per_s=rate
        )
        for rate in (1, 2, 4)
    ]
    made = build_report(written_run(tmp_path, rows))
    assert "fleet" in [picture.name for picture in made.pictures]
    assert "Who wins where" in [one.title for one in made.left_out]


def test_exceptions_to_the_cost_model_are_listed(tmp_path):
    text = build_report(written_run(tmp_path)).page.read_text()
    assert "lost by the predicted" in text and "<td>8</td><td>4</td><td>44.4%</td>" in text


def test_the_results_say_how_to_make_them_again(tmp_path):
    folder, file = written_run(tmp_path / "runs"), tmp_path / "results.md"
    result = CliRunner().invoke(application, ["report", str(folder), "--output", str(tmp_path / "out"), "--results", str(file)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "report.html").is_file() and "left out: Fleet capacity" in result.stdout
    text = file.read_text()
    assert f"airdraft report {folder} --results {file}" in text
    assert "| - | 5g 200 ms | 60.0 |" in text and "streaming |" in text
    assert "| made_up | easy | 2 | 4 | 3.20" in text
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert "results/made_up_who_wins_where.png" in shown and all((tmp_path / address).is_file() for address in shown)


def test_links_that_are_on_no_map_have_their_bars(tmp_path):
    drive = [row("ts", "drive", "stream", tpot_s=0.03, **TRACE), drafts("td", "drive", 1, 0.06, **TRACE)]
    alone = build_report(written_run(tmp_path / "alone", drive))
    assert "who_wins_by_link" in [picture.name for picture in alone.pictures]
    assert "Who wins where" in [one.title for one in alone.left_out]
    both = build_report(written_run(tmp_path / "both", [*two_places(), *drive]))
    assert {"who_wins_by_link", "who_wins_where"} <= {picture.name for picture in both.pictures}
    mapped = build_report(written_run(tmp_path / "mapped"))
    assert "Who wins on each link" in [one.title for one in mapped.left_out]


def test_several_runs_make_one_page_of_results(tmp_path):
    folders = [str(written_run(tmp_path / name, name=name)) for name in ("first", "second")]
    file = tmp_path / "results.md"
    result = CliRunner().invoke(application, ["report", *folders, "--results", str(file)])
    assert result.exit_code == 0, result.output
    text = file.read_text()
    assert "## first (simulated)" in text and "## second (simulated)" in text
    refused = CliRunner().invoke(application, ["report", *folders, "--output", str(tmp_path / "out")])
    assert refused.exit_code != 0 and not (tmp_path / "out").exists()


def test_the_same_run_makes_the_same_page(tmp_path):
    written_run(tmp_path)
    first, second = (build_report(tmp_path, tmp_path / name).page.read_bytes() for name in ("a", "b"))
    assert first == second
