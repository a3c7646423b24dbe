from __future__ import annotations

import pytest

from airdraft.errors import CapacityError, DrainingError
from cloud.admission import Limits, admit, admit_rows, draft_limit

LIMITS = Limits(sessions=4, max_draft=16, max_rows=256, queue_rows=1000)


def test_a_place_is_given_while_there_is_one():
    admit(3, LIMITS, draining=False)
    with pytest.raises(CapacityError, match="all 4 places") as refusal:
        admit(4, LIMITS, draining=False, retry_after_s=2.5)
    assert refusal.value.retry_after_s == 2.5


def test_a_draining_verifier_admits_nobody():
    with pytest.raises(DrainingError):
        admit(0, LIMITS, draining=True)


def test_rows_are_refused_once_the_queue_is_full_with_the_time_it_will_take():
    admit_rows(900, 100, LIMITS, rows_per_s=50.0)
    with pytest.raises(CapacityError) as refusal:
        admit_rows(901, 100, LIMITS, rows_per_s=50.0)
    assert refusal.value.retry_after_s == 2.0


def test_an_empty_queue_takes_any_block_and_an_unmeasured_one_still_names_a_time():
    admit_rows(5000, 0, LIMITS, rows_per_s=None)
    with pytest.raises(CapacityError) as refusal:
        admit_rows(1000, 1, LIMITS, rows_per_s=None)
    assert refusal.value.retry_after_s


def test_drafts_are_granted_the_most_when_idle():
    assert draft_limit(0, 0, LIMITS) == draft_limit(1, 0, LIMITS) == draft_limit(8, 0, LIMITS) == 16


def test_drafts_shrink_with_company_and_queue_but_never_below_one():
    by_company = [draft_limit(sessions, 0, LIMITS) for sessions in (8, 32, 64, 1000)]
    by_queue = [draft_limit(1, queued, LIMITS) for queued in (0, 500, 900, 5000)]
    assert by_company == [16, 7, 3, 1] and by_queue == [16, 8, 1, 1]
