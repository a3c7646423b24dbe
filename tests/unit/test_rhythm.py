from __future__ import annotations

from cloud.rhythm import ACTIVE_S, Rhythm


def test_nobody_is_due_before_a_turnaround_was_seen():
    rhythm = Rhythm()
    rhythm.came(0, 0.0)
    rhythm.went(0, 1.0)
    assert not rhythm.anyone_due(1.0, 0.01)


def test_a_slot_is_due_about_one_turnaround_after_its_answer():
    rhythm = Rhythm()
    rhythm.went(0, 1.0)
    rhythm.came(0, 1.5)
    assert not rhythm.anyone_due(1.5, 0.1)  # it is here
    rhythm.went(0, 2.0)
    assert [rhythm.anyone_due(now, 0.1) for now in (2.0, 2.45, 2.55, 2.7)] == [False, True, True, False]


def test_turnarounds_are_smoothed():
    rhythm = Rhythm()
    for answered, came in ((0.0, 1.0), (2.0, 5.0)):
        rhythm.went(0, answered)
        rhythm.came(0, came)
    rhythm.went(0, 10.0)
    assert rhythm.anyone_due(12.0, 0.01) and not rhythm.anyone_due(11.0, 0.01)


def test_activity_of_others_fades():
    rhythm = Rhythm()
    rhythm.went(1, 0.0)
    assert rhythm.anyone_active(0.0, besides={0}) and not rhythm.anyone_active(0.0, besides={1})
    assert not rhythm.anyone_active(ACTIVE_S * 1.01, besides={0})
