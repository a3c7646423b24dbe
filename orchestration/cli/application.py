"""The commands by name, and the options that come before them."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable
from typing import Annotated

import typer

from airdraft import __version__
from orchestration.cli import DEBUG_VARIABLE
from orchestration.cli.chat import chat
from orchestration.cli.crosscheck import crosscheck
from orchestration.cli.demo import demo
from orchestration.cli.doctor import doctor
from orchestration.cli.down import down
from orchestration.cli.generate import generate
from orchestration.cli.link import link
from orchestration.cli.models import application as models
from orchestration.cli.profile import profile
from orchestration.cli.record import record
from orchestration.cli.report import report
from orchestration.cli.serve import serve
from orchestration.cli.simulate import simulate
from orchestration.cli.status import status
from orchestration.cli.submit import submit
from orchestration.cli.sweep import sweep
from orchestration.cli.up import up

application = typer.Typer(
    name="airdraft",
    help="Speculative decoding across a wireless link: a device drafts, the cloud verifies.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"airdraft {__version__}")
        raise typer.Exit


@application.callback()
def before(
    debug: Annotated[bool, typer.Option("--debug", help=f"Show where an error came from (also: {DEBUG_VARIABLE}=1).")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Set up what every command shares."""
    is_debug = debug or bool(os.environ.get(DEBUG_VARIABLE))
    logging.basicConfig(level=logging.INFO if is_debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _help(command: Callable[..., None]) -> str:
    """The command's docstring, a line for each paragraph: typer would keep the breaks within them, wherever the terminal ends."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (inspect.getdoc(command) or "").split("\n\n"))


COMMANDS: tuple[Callable[..., None], ...] = (
    demo, serve, generate, chat, link, doctor, up, status, down, profile, record, simulate, crosscheck, sweep, report, submit,
)  # fmt: skip
for _command in COMMANDS:
    application.command(help=_help(_command))(_command)
application.add_typer(models, name="models")
