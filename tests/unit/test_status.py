"""The table between errors and gRPC status: closed both ways, and sensible for a status that no verifier of ours has sent."""

from __future__ import annotations

import logging

import pytest
from grpc import StatusCode

from airdraft import errors
from airdraft.errors import AirdraftError, CapacityError, InternalError, SessionError, every_error
from airdraft.wire import status

TREE = tuple(kind for kind in every_error() if kind.__module__ == errors.__name__)


def test_every_error_of_the_tree_has_a_status_and_nothing_else_has():
    assert set(status.STATUS_OF) == set(TREE)


def test_every_status_but_ok_has_an_error():
    assert set(status.CLASS_OF_BARE) == set(StatusCode) - {StatusCode.OK}


def test_names_that_cross_the_link_are_unique_and_start_with_their_parent():
    assert len({kind.code for kind in TREE}) == len(TREE)
    for kind in TREE[1:]:
        parent = kind.__mro__[1]
        assert parent is AirdraftError or kind.code.startswith(f"{parent.code}.")


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_its_class(kind):
    back = status.from_status(*status.to_status(kind("what was wrong, in Zürich", retry_after_s=0.25)))
    assert type(back) is kind
    assert back.message == str(back) == "what was wrong, in Zürich"
    assert back.retry_after_s == 0.25
    assert back.peers == ()
    assert status.from_status(*status.to_status(kind("no retry"))).retry_after_s is None


def test_a_refusal_names_other_verifiers_and_no_nonsense():
    peers = ("10.0.0.2:50051", "[fe80::1]:50051", "verifier-1.example:1", "no port", "a,b:1", "ü:1")
    back = status.from_status(*status.to_status(CapacityError("full", peers=peers)))
    assert back.peers == peers[:3]
    assert status.from_status(StatusCode.UNAVAILABLE, "x", ((status.PEERS_KEY, "x,a:1, b:2,\nc:3,d:99999999"),)).peers == ("a:1",)
    many = tuple(f"host-{number}:1" for number in range(100))
    assert status.from_status(*status.to_status(CapacityError("full", peers=many))).peers == many[: status.MAX_PEERS_TOLD]


def test_a_class_from_outside_the_tree_travels_as_its_ancestor():
    class Local(CapacityError):
        code = "capacity.local"

    assert type(status.from_status(*status.to_status(Local("full")))) is CapacityError


def test_a_name_from_a_newer_version_falls_back_on_its_parent():
    assert type(status.from_status(StatusCode.ABORTED, "x", ((status.ERROR_KEY, "session.moved.far"),))) is SessionError


@pytest.mark.parametrize("name", ["", "nonsense", b"\xff"])
def test_a_name_that_means_nothing_falls_back_on_the_code(name):
    found = status.from_status(StatusCode.DEADLINE_EXCEEDED, "late", ((status.ERROR_KEY, name),))
    assert type(found) is errors.DeadlineError


@pytest.mark.parametrize(
    "code, details, kind",
    [
        (StatusCode.UNAVAILABLE, "refused", errors.UnavailableError),
        (StatusCode.INTERNAL, "Received RST_STREAM with error code 2", errors.UnavailableError),
        (StatusCode.UNKNOWN, "Stream removed", errors.UnavailableError),
        (StatusCode.DEADLINE_EXCEEDED, "late", errors.DeadlineError),
        (StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", errors.CapacityError),
        (StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (9 vs. 4)", errors.MalformedMessageError),
        (StatusCode.UNIMPLEMENTED, "Method not found!", errors.ProtocolVersionError),
    ],
)
def test_a_status_of_grpc_itself_gets_a_sensible_class(code, details, kind):
    found = status.from_status(code, details)
    assert type(found) is kind
    assert found.message == details


def test_a_status_without_words_gets_some():
    assert "UNAVAILABLE" in str(status.from_status(StatusCode.UNAVAILABLE, None))


@pytest.mark.parametrize("value", ["soon", "-5", "", b"5", "9" * 30, "²"])
def test_a_time_to_retry_that_is_no_number_is_left_out(value):
    assert status.from_status(StatusCode.UNAVAILABLE, "x", ((status.RETRY_KEY, value),)).retry_after_s is None


def test_words_are_cut_to_what_headers_can_hold():
    _, details, _ = status.to_status(InternalError("ü" * 5000))
    assert details == "ü" * (status.MAX_MESSAGE_BYTES // 2)


def test_a_fault_of_our_own_is_logged_under_the_id_that_the_words_name(caplog):
    with caplog.at_level(logging.ERROR):
        found = status.contained(ValueError("a secret"), logging.getLogger("airdraft"))
    assert type(found) is InternalError
    assert "a secret" not in str(found)
    record = caplog.records[0]
    assert record.args[0] in str(found)
    assert "a secret" in caplog.text
    own = CapacityError("full")
    assert status.contained(own, logging.getLogger("airdraft")) is own
