"""Where a new response goes, who is there, and what is remembered of those that were started again."""

from __future__ import annotations

import pytest

from orchestration.cluster.directory import Directory
from orchestration.cluster.settings import ClusterSettings
from tests.cluster_parts import device_report, replica_report, served


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(clock: Clock) -> Directory:
    return Directory(ClusterSettings(), clock)


def address(index: int) -> str:
    return f"10.0.0.{index}:50051"


def test_nobody_is_assigned_while_nobody_serves(directory):
    assert directory.assign() == ()


def test_a_report_is_answered_with_all_who_serve_the_least_loaded_first(directory):
    assert directory.report_replica(replica_report("verifier-0", served=served(sessions=2))) == (address(0),)
    assert directory.report_replica(replica_report("verifier-1", served=served(sessions=1))) == (address(1), address(0))
    assert directory.report_replica(replica_report("verifier-2", served=served(sessions=3, limit=30))) == (
        address(2),
        address(1),
        address(0),
    )


def test_a_queue_decides_between_equally_full_ones(directory):
    directory.report_replica(replica_report("verifier-0", served=served(sessions=1, queued_rows=9)))
    assert directory.report_replica(replica_report("verifier-1", served=served(sessions=1))) == (address(1), address(0))


def test_full_ones_come_last_and_draining_ones_not_at_all(directory):
    directory.report_replica(replica_report("verifier-0", served=served(sessions=4)))
    directory.report_replica(replica_report("verifier-1", served=served(draining=True)))
    assert directory.report_replica(replica_report("verifier-2", served=served(sessions=3))) == (address(2), address(0))


def test_a_burst_between_two_reports_is_spread(directory):
    for index in range(3):
        directory.report_replica(replica_report(f"verifier-{index}"))
    first = [directory.assign()[0] for _ in range(6)]
    assert sorted(first) == sorted([address(index) for index in range(3)] * 2)


def test_what_was_sent_somewhere_counts_until_it_has_arrived_or_gone_elsewhere(directory, clock):
    def report(opened: int, sessions: int) -> None:
        directory.report_replica(replica_report("verifier-0", counts={"opened": float(opened)}, served=served(sessions)))
        directory.report_replica(replica_report("verifier-1", served=served(sessions=1, limit=3)))

    report(opened=0, sessions=0)
    assert directory.assign()[0] == directory.assign()[0] == address(0)
    report(opened=0, sessions=0)
    assert directory.assign()[0] == address(1)
    report(opened=2, sessions=0)
    assert directory.assign()[0] == address(0)
    directory.assign()
    clock.now_s += 100
    report(opened=2, sessions=0)
    directory.assign()
    assert directory.addresses()[0] == address(0)


def test_a_replica_that_says_nothing_is_gone_and_comes_back_when_it_speaks(directory, clock):
    directory.report_replica(replica_report("verifier-0"))
    clock.now_s += 2
    directory.report_replica(replica_report("verifier-1"))
    clock.now_s += directory.settings.silence_s - 1
    assert directory.addresses() == (address(1),)
    silent = directory.snapshot().replicas[0]
    assert (silent.state, silent.silent_s) == ("silent", directory.settings.silence_s + 1)
    directory.report_replica(replica_report("verifier-0"))
    assert directory.addresses() == (address(0), address(1))


def test_a_new_incarnation_is_a_restart_and_what_the_old_one_did_still_counts(directory):
    directory.report_replica(replica_report(counts={"rounds": 5.0}))
    directory.report_replica(replica_report(counts={"rounds": 7.0}))
    directory.report_replica(replica_report(incarnation="b", counts={"rounds": 1.0, "emitted": 2.0}))
    status = directory.snapshot().replicas[0]
    assert (status.restarts, status.counts) == (1, {"rounds": 8.0, "emitted": 2.0})


def test_devices_are_known_by_name_and_number(directory, clock):
    for index in (10, 9, 1):
        directory.report_device(device_report(f"device-{index}", is_answering=index == 9))
    states = [(device.report.name, device.state) for device in directory.snapshot().devices]
    assert states == [("device-1", "idle"), ("device-9", "answering"), ("device-10", "idle")]
    clock.now_s += 100
    assert {device.state for device in directory.snapshot().devices} == {"silent"}


def test_what_is_dropped_is_forgotten(directory):
    directory.report_replica(replica_report())
    directory.report_device(device_report())
    directory.drop("verifier-0")
    directory.drop("device-0")
    directory.drop("never there")
    snapshot = directory.snapshot()
    assert (snapshot.replicas, snapshot.devices, directory.assign()) == ((), (), ())


def test_a_snapshot_tells_the_time_and_the_settings(directory, clock):
    clock.now_s += 7
    assert directory.snapshot().uptime_s == 7
    assert directory.snapshot().settings is directory.settings
