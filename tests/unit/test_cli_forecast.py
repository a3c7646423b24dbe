from dataclasses import replace

import pytest

from orchestration.cli import forecast
from orchestration.cli.checks import Status
from orchestration.cli.rehearsal import Findings

FOUND = Findings(
    draft_step_s=0.010,
    round_trip_s=0.020,
    one_row_s=0.100,
    draft_rows=5,
    several_rows_s=0.108,
    acceptance=0.8,
    drafted_token_s=0.055,
    streamed_token_s=0.101,
)


def test_a_fast_drafter_pays_with_the_figure_of_the_cost_model() -> None:
    check = forecast.will_it_pay(FOUND, 16)
    assert check.status is Status.OK
    assert "100 ms streaming" in check.found and "measured: 55 ms with drafts of 4, 101 ms streaming" in check.found
    assert check.advice.startswith("--draft-length ") and check.advice.removeprefix("--draft-length ") in check.found


def test_a_slow_drafter_does_not_and_the_advice_is_to_stream() -> None:
    check = forecast.will_it_pay(replace(FOUND, draft_step_s=0.120), 16)
    assert check.status is Status.WARN and "slower at any round trip" in check.found and "--schedule stream" in check.advice


def test_the_draft_length_stays_within_what_the_verifier_grants() -> None:
    assert forecast.will_it_pay(replace(FOUND, acceptance=0.99), 3).advice == "--draft-length 3"


@pytest.mark.parametrize("missing", ["draft_step_s", "round_trip_s", "one_row_s", "several_rows_s", "acceptance"])
def test_with_an_input_missing_there_is_no_forecast_and_no_figure(missing: str) -> None:
    found = replace(FOUND, **{missing: None})
    check = forecast.will_it_pay(found, 16)
    assert check.status is Status.UNKNOWN and not any(character.isdigit() for character in check.found)
    assert [each.status for each in forecast.measured(found)].count(Status.UNKNOWN) == 1
