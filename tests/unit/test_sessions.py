from __future__ import annotations

import pytest

from airdraft.errors import AirdraftError, CapacityError, DrainingError, ForgedSessionError, SupersededError, UnknownSessionError
from airdraft.messages import Finish
from cloud import acceptance, session_state
from cloud.session_state import Terms
from cloud.sessions import Session, SessionTable
from cloud.settings import VerifierSettings
from tests.hash_target import contract

SETTINGS = VerifierSettings(sessions=2, lease_s=100, protected_s=10, finished_lease_s=30)


class HandClock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds


class Stream:
    def __init__(self) -> None:
        self.ended: AirdraftError | None = None

    def end(self, error: AirdraftError) -> None:
        self.ended = error


class Desk:
    """A table, its clock, and the ids it has forgotten."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.forgotten: list[str] = []
        self.table = SessionTable(self.clock, SETTINGS, self.forgotten.append)  # type: ignore[arg-type]  # only `now` is used

    def open(self, finished: bool = False) -> Session:
        self.table.make_room()
        agreed = contract(max_new_tokens=1 if finished else 10)
        state = session_state.begin(self.table.identify(), Terms(agreed, 100, 0), (4,) if finished else (), 1)
        session = Session(state, acceptance.build(agreed.rule))
        self.table.add(session)
        return session

    def connect(self, session: Session) -> Stream:
        stream = Stream()
        self.table.attach(session, stream)
        return stream

    def find(self, session: Session) -> Session:
        return self.table.find(session.id, session.state.identity.resume_token)

    def pass_time(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self.table.expire()


def test_a_session_is_found_by_its_names_only():
    desk = Desk()
    session = desk.open()
    assert desk.find(session) is session
    with pytest.raises(UnknownSessionError, match="'other'"):
        desk.table.find("other", session.state.identity.resume_token)
    with pytest.raises(ForgedSessionError):
        desk.table.find(session.id, bytes(16))


def test_names_are_random_and_of_their_size():
    desk = Desk()
    names = [desk.table.identify() for _ in range(50)]
    assert len({name.session_id for name in names}) == len({name.resume_token for name in names}) == 50
    assert {len(name.resume_token) for name in names} == {16}


def test_a_newer_stream_ends_the_older_one():
    desk = Desk()
    session = desk.open()
    older = desk.connect(session)
    newer = desk.connect(session)
    assert isinstance(older.ended, SupersededError) and newer.ended is None
    assert not desk.table.detach(session, older)
    assert session.connection is newer
    assert desk.table.detach(session, newer)


def test_a_connected_session_does_not_expire_and_an_absent_one_does():
    desk = Desk()
    session = desk.open()
    stream = desk.connect(session)
    desk.pass_time(1000)
    assert desk.find(session) is session
    desk.table.detach(session, stream)
    desk.pass_time(99)
    assert desk.find(session) is session
    desk.pass_time(1)
    with pytest.raises(UnknownSessionError):
        desk.find(session)
    assert desk.forgotten == [session.id]


def test_a_finished_session_is_kept_for_its_own_lease_and_takes_no_place():
    desk = Desk()
    finished = [desk.open(finished=True) for _ in range(2)]
    assert desk.table.unfinished == 0 and finished[0].state.finish is Finish.LENGTH
    desk.pass_time(29)
    assert desk.find(finished[0]) is finished[0]
    desk.pass_time(1)
    with pytest.raises(UnknownSessionError):
        desk.find(finished[0])


def test_finished_sessions_are_dropped_oldest_first_when_they_grow_many():
    desk = Desk()
    finished = []
    for _ in range(3):
        finished.append(desk.open(finished=True))
        desk.pass_time(1)
    desk.open()
    assert desk.forgotten == [finished[0].id, finished[1].id]


def test_a_full_table_refuses_with_the_time_at_which_a_place_may_be_free():
    desk = Desk()
    first, second = desk.open(), desk.open()
    desk.connect(first)
    desk.connect(second)
    with pytest.raises(CapacityError, match="2 places"):
        desk.open()
    desk.table.detach(second, second.connection)  # type: ignore[arg-type]  # it is connected
    desk.pass_time(4)
    with pytest.raises(CapacityError) as refusal:
        desk.open()
    assert refusal.value.retry_after_s == pytest.approx(6)


def test_a_newcomer_takes_the_place_of_the_one_absent_longest_once_that_is_not_protected_any_more():
    desk = Desk()
    first = desk.open()
    desk.pass_time(5)
    second = desk.open()
    desk.pass_time(5)
    third = desk.open()
    assert desk.forgotten == [first.id]
    assert desk.find(second) is second and desk.find(third) is third


def test_a_draining_table_admits_nobody():
    desk = Desk()
    session = desk.open()
    desk.table.drain()
    with pytest.raises(DrainingError):
        desk.open()
    with pytest.raises(DrainingError):
        desk.find(session)


def test_compute_is_owed_until_it_is_reported():
    session = Desk().open()
    session.owed_share_s = 1.5
    assert session.timings().share_s == 1.5
    assert session.take_share_s() == 0.0
