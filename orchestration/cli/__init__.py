"""The `airdraft` command. Importing it is cheap: whatever is heavy is imported by the command that needs it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

DEBUG_FLAG = "--debug"
DEBUG_VARIABLE = "AIRDRAFT_DEBUG"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 for success, else what `orchestration.cli.failures` says. `--debug` may stand anywhere."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = given[: given.index("--")] if "--" in given else given
    if DEBUG_FLAG in options:
        given.remove(DEBUG_FLAG)
        os.environ[DEBUG_VARIABLE] = "1"
    signal.signal(signal.SIGTERM, _end_in_order)
    from orchestration.cli.failures import code_for, show

    try:
        from orchestration.cli.application import application

        application(given, prog_name="airdraft")
    except Exception as error:
        show(error, traceback=bool(os.environ.get(DEBUG_VARIABLE)))
        sys.exit(code_for(error))
    sys.exit(0)


def _end_in_order(number: int, frame: FrameType | None) -> NoReturn:
    """Asked to stop: leave through every clean-up, with the code that shells expect."""
    sys.exit(128 + number)
