"""Acceptance read off a recording is what a replay counts."""

import pytest

from airdraft.messages import Outcome
from orchestration.recording.acceptance import acceptance, by_task
from tests.recorded_pair import GREEDY, frequent_token, recorded, replayed


@pytest.mark.parametrize("stops", [False, True], ids=["to their length", "to a stop token"])
@pytest.mark.parametrize("draft_length", [1, 4, 16])
def test_rounds_and_accepted_tokens_are_those_of_the_replay(draft_length, stops):
    recording = recorded(GREEDY, (frequent_token(),) if stops else ())
    records = replayed(recording, draft_length, [recording.contract(entry) for entry in recording.entries])
    rounds = [answer for record in records for answer in record.rounds if answer.kind == "draft" and answer.outcome is Outcome.JUDGED]
    found = acceptance(recording.entries, draft_length)
    assert found.accepted_length == pytest.approx(sum(answer.accepted for answer in rounds) / len(rounds))
    assert found.tokens_per_round == pytest.approx(sum(len(record.tokens) for record in records) / len(rounds))


def test_tasks_are_counted_apart():
    rows = by_task(recorded().entries, 4)
    assert list(rows) == ["even", "odd"] and [row.prompts for row in rows.values()] == [6, 6]
    whole = acceptance(recorded().entries, 4)
    assert whole.tokens == sum(row.tokens for row in rows.values())
    assert min(row.agreement for row in rows.values()) <= whole.agreement <= max(row.agreement for row in rows.values())
