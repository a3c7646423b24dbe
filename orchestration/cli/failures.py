"""How a failure looks to the user: one line on stderr that says what to do, and an exit code by its class."""

from __future__ import annotations

import errno

from rich.console import Console
from rich.text import Text

from airdraft.errors import (
    AirdraftError,
    CapacityError,
    ContractError,
    DeadlineError,
    ModelError,
    SettingsError,
    UnavailableError,
)

EXIT_CODES: tuple[tuple[type[AirdraftError], int], ...] = (
    (SettingsError, 2),
    (ContractError, 2),
    (ModelError, 3),
    (UnavailableError, 4),
    (DeadlineError, 4),
    (CapacityError, 5),
)
OTHER = 1
INTERRUPTED = 130


def code_for(error: Exception) -> int:
    """The exit code for an error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), OTHER)


def sentence(error: Exception) -> str:
    """What to tell the user."""
    if isinstance(error, AirdraftError):
        again = f" Try again in {error.retry_after_s:.0f} s." if error.retry_after_s else ""
        return error.message + again
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'no room left'}). Free some room and try again."
    return f"{type(error).__name__}: {error}. This is a fault of airdraft's own; run it again with --debug to see where."


def show(error: Exception, *, traceback: bool = False) -> None:
    """Print one red line on stderr; before it, when asked, where the error came from."""
    console = Console(stderr=True, highlight=False)
    if traceback:
        import traceback as traces

        console.print(Text("".join(traces.format_exception(error))), soft_wrap=True, end="")
    console.print(Text(f"error: {sentence(error)}", style="bold red"), soft_wrap=True)
