import errno

import pytest

from airdraft.errors import (
    CapacityError,
    DeadlineError,
    DiskFullError,
    InternalError,
    LinkLostError,
    PairMismatchError,
    PromptTooLongError,
    SettingsError,
    UnavailableError,
    UnknownModelError,
    every_error,
)
from orchestration.cli.failures import code_for, sentence, show


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (SettingsError, 2), (PromptTooLongError, 2), (UnknownModelError, 3), (DiskFullError, 3), (PairMismatchError, 3),
        (UnavailableError, 4), (LinkLostError, 4), (DeadlineError, 4), (CapacityError, 5), (InternalError, 1),
    ],
)  # fmt: skip
def test_exit_codes_tell_what_kind_of_failure_it_was(kind, code: int) -> None:
    assert code_for(kind("x")) == code


def test_every_error_has_a_code_and_none_looks_like_success() -> None:
    assert all(0 < code_for(kind("x")) < 128 for kind in every_error())
    assert code_for(ValueError("x")) == 1


def test_an_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show(CapacityError("the verifier is full.", retry_after_s=3.2))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: the verifier is full. Try again in 3 s.\n"


def test_a_long_error_is_not_broken_into_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show(SettingsError("word " * 100))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_traceback_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise SettingsError("no such [thing]")
    except SettingsError as error:
        show(error, traceback=True)
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.endswith("error: no such [thing]\n")


def test_a_full_disk_and_a_fault_of_our_own_are_told_apart() -> None:
    assert sentence(OSError(errno.ENOSPC, "No space left on device", "/x")) == "the disk is full (/x). Free some room and try again."
    assert "--debug" in sentence(KeyError("x"))
