"""How every draft comes from one row per position and one continuation per miss."""

from dataclasses import replace

import pytest

from airdraft.errors import InternalError, SettingsError
from airdraft.messages import Finish
from edge.certainty import Certainty
from orchestration.recording.entry import Entry, Predictions, gather

SURE = Certainty(0.5, 1.0, 0.5, 0.25)


def rows(*tokens: int) -> Predictions:
    return gather((token, SURE) for token in tokens)


# Prompt 1 2; the target says 10 11 12 13 14; the drafter errs at its third and last word, and goes on 50 51 52, or 60, after that.
ENTRY = Entry("name", "task", (1, 2), Finish.LENGTH, rows(10, 11, 12, 13, 14), rows(10, 11, 40, 13, 41), rows(50, 51, 52, 60), (3, 1))


@pytest.mark.parametrize(
    ("position", "length", "tokens"),
    [
        (2, 1, [10]),
        (2, 2, [10, 11]),
        (2, 3, [10, 11, 40]),
        (2, 5, [10, 11, 40, 50, 51]),
        (2, 9, [10, 11, 40, 50, 51, 52]),
        (4, 2, [40, 50]),
        (5, 4, [13, 41, 60]),
        (6, 4, [41, 60]),
        (3, 0, []),
    ],
)
def test_a_draft_follows_the_text_to_its_first_miss_and_that_misss_continuation_after_it(position, length, tokens):
    assert ENTRY.draft_from(position, length).tokens.tolist() == tokens


def test_without_a_miss_ahead_a_draft_ends_with_the_response():
    right = replace(ENTRY, drafter=rows(10, 11, 40, 13, 14), continuations=rows(50, 51, 52), continuation_lengths=(3,))
    assert right.draft_from(5, 16).tokens.tolist() == [13, 14]


def test_figures_travel_with_their_tokens():
    sure = [Certainty(token / 64, token / 32, token / 64, 0.125) for token in range(4)]
    part = gather(enumerate(sure)).part(1, 3)
    assert [part.certainty(row) for row in range(len(part))] == sure[1:3]


@pytest.mark.parametrize("position", [0, 1, 7])
def test_a_draft_from_outside_the_response_is_a_fault(position):
    with pytest.raises(InternalError, match="2 to 6"):
        ENTRY.draft_from(position, 4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"drafter": rows(10, 11)}, "rows of the drafter"),
        ({"continuation_lengths": (3,)}, "continuations"),
        ({"continuation_lengths": (3, 2)}, "continued tokens"),
        ({"continuations": rows(50, 51, 52, 100)}, "token ids"),
        ({"prompt": ()}, "no prompt"),
        ({"target": rows(), "drafter": rows(), "continuations": rows(), "continuation_lengths": ()}, "no response"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, match):
    ENTRY.check(100)
    with pytest.raises(SettingsError, match=match):
        replace(ENTRY, **change).check(100)
