"""`airdraft generate`: one prompt, one response."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestration.cli import options

if TYPE_CHECKING:
    from orchestration.assembly import Device
    from orchestration.cli.answer import Answer
    from orchestration.cluster.remote_device import RemoteDevice


def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The prompt; - reads it from standard input.")],
    cloud: options.CloudOrNot = None,
    drafter: options.Drafter = None,
    draft_length: options.DraftLength = None,
    schedule: options.Schedule = None,
    rule: options.Rule = None,
    rule_parameter: options.RuleParameters = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    max_new_tokens: options.MaxNewTokens = None,
    fallback: options.Fallback = None,
    raw: Annotated[bool, typer.Option("--raw", help="The prompt as it stands, without the chat template.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line: tokens, then a summary.")] = False,
    tokenizer: options.Tokenizer = None,
    dtype: options.Dtype = None,
    device: options.Hardware = None,
    threads: options.Threads = None,
    tls: options.Tls = None,
    root_certificates: options.RootCertificates = None,
    settings: options.SettingsFile = None,
    on_cluster: Annotated[bool, typer.Option("--on-cluster", help="Let a device of the cluster that is up on Ray answer.")] = False,
    cluster_device: Annotated[
        str | None, typer.Option("--cluster-device", metavar="NAME", help="Which one.", show_default="one that is idle")
    ] = None,
    address: options.RayAddress = None,
) -> None:
    """Answer a prompt: draft here, have it verified by the cloud. Text goes to standard output, its cost to standard error.

    With --json each line is an object with a "type": "token" (id, position, origin, verified, text), "rest" (text that no token
    completed), "error" (code, message), and last "summary".
    """
    from orchestration.cli.connection import At, Way, connected, connected_on_cluster

    flags = options.DeviceFlags(
        drafter, draft_length, schedule, rule, rule_parameter, temperature, top_k, top_p, seed, max_new_tokens, fallback, dtype, device,
        threads, settings,
    )  # fmt: skip
    chosen = options.device_settings(flags)
    way: AbstractContextManager[tuple[asyncio.Runner, Device | RemoteDevice]]
    text = _read(prompt)
    errors = Console(stderr=True, highlight=False)
    if on_cluster:
        way = connected_on_cluster(flags, At(address, cluster_device, tokenizer))
    else:
        way = connected(chosen, Way(_required(cloud), tls, root_certificates, tokenizer), errors)
    with _errors_as_json(as_json), way as (runner, here):
        _answer(runner, here, here.language.prompt(text, raw), as_json, errors)


def _answer(runner: asyncio.Runner, device: Device | RemoteDevice, prompt: tuple[int, ...], as_json: bool, errors: Console) -> None:
    from orchestration.cli import summary
    from orchestration.cli.answer import Answer
    from orchestration.cli.printing import Coloured, JsonLines, Plain, legend

    console = Console(highlight=False)
    session, contract = device.session(), device.contract(prompt)
    if as_json:
        lines = JsonLines(sys.stdout)
        answer = Answer(session, contract, device.language, lines)
    elif console.is_terminal:
        answer = Answer(session, contract, device.language, Coloured(console), verified_only=False)
        console.print(legend())
    else:
        answer = Answer(session, contract, device.language, Plain(sys.stdout))
    try:
        runner.run(answer.run())
    finally:
        if as_json:
            lines.write(summary.as_json(answer.response))
        else:
            _summarise(answer, errors)


def _summarise(answer: Answer, errors: Console) -> None:
    from orchestration.cli import summary

    response = answer.response
    if not response.tokens:
        return
    note = {"stop_token": "", "interrupted": "interrupted", "failed": "cut short"}.get(response.finish, f"ended by {response.finish}")
    errors.print(f"\n{note}" if note else "", style="yellow")
    errors.print(summary.table({"": response.statistics}))


def _required(cloud: str | None) -> str:
    from airdraft.errors import SettingsError

    if cloud is None:
        raise SettingsError("Missing option '--cloud': name a verifier with --cloud HOST:PORT, or use --on-cluster.")
    return cloud


def _read(prompt: str) -> str:
    from airdraft.errors import SettingsError

    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise SettingsError("the prompt is empty; give some text, or - to read it from standard input.")
    return text


@contextmanager
def _errors_as_json(wanted: bool) -> Iterator[None]:
    """With `--json`, a program learns of an error on its own channel, too."""
    from airdraft.errors import AirdraftError
    from orchestration.cli.printing import JsonLines

    try:
        yield
    except AirdraftError as error:
        if wanted:
            JsonLines(sys.stdout).write({"type": "error", "code": error.code, "message": error.message})
        raise
