"""`airdraft chat`: a conversation in which each turn continues the text of the last, so that neither side computes it again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

from orchestration.cli import options

if TYPE_CHECKING:
    from orchestration.assembly import Device, Language
    from orchestration.cli.summary import Response

HELP = "/stats shows what the last answer cost, /quit leaves. Ctrl-C stops an answer, Ctrl-D leaves."


def chat(
    cloud: options.Cloud,
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
    tokenizer: options.Tokenizer = None,
    dtype: options.Dtype = None,
    device: options.Hardware = None,
    threads: options.Threads = None,
    tls: options.Tls = None,
    root_certificates: options.RootCertificates = None,
    settings: options.SettingsFile = None,
) -> None:
    """Talk to the model. Ctrl-C stops an answer, Ctrl-D (or /quit) leaves, /stats shows what the last answer cost."""
    from orchestration.cli.connection import Way, connected

    flags = options.DeviceFlags(
        drafter, draft_length, schedule, rule, rule_parameter, temperature, top_k, top_p, seed, max_new_tokens, fallback, dtype, device,
        threads, settings,
    )  # fmt: skip
    chosen = options.device_settings(flags)
    with connected(chosen, Way(cloud, tls, root_certificates, tokenizer), Console(stderr=True, highlight=False)) as (runner, here):
        Chat(runner, here, Console(highlight=False)).run()


class Dialogue:
    """The messages so far and the tokens that they are, as both sides know them."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._messages: list[dict[str, str]] = []
        self._known: tuple[int, ...] = ()  # the last prompt and its answer

    def ask(self, text: str) -> tuple[tuple[int, ...], int]:
        """The next prompt, and how many of its tokens continue the known text.

        The conversation in the model's template, with the known tokens as they are: an answer encoded anew may be cut into other ones.
        """
        self._messages.append({"role": "user", "content": text})
        fresh = self._language.conversation(self._messages)
        written, known = self._language.text(fresh, special=True), self._language.text(self._known, special=True)
        if self._known and written.startswith(known):
            return (*self._known, *self._language.tokenizer.encode(written[len(known) :], add_special_tokens=False)), len(self._known)
        return fresh, shared_length(fresh, self._known)

    def answered(self, prompt: Sequence[int], tokens: Sequence[int], text: str) -> None:
        """Take in the answer, as far as it came."""
        self._messages.append({"role": "assistant", "content": text})
        self._known = (*prompt, *tokens)

    def unanswered(self) -> None:
        """Forget the last question: nothing was answered."""
        self._messages.pop()


class Chat:
    """Asks, answers, until the user leaves."""

    def __init__(self, runner: asyncio.Runner, device: Device, console: Console) -> None:
        self._runner = runner
        self._device = device
        self._console = console
        self._session = device.session()
        self._dialogue = Dialogue(device.language)
        self._last: Response | None = None

    def run(self) -> None:
        """Until Ctrl-D or /quit."""
        with suppress(ImportError):
            import readline  # noqa: F401 - its import gives `input` line editing and a history
        self._console.print(f"{self._device.served.model} verifies. {HELP}", style="dim", soft_wrap=True)
        while (line := self._ask()) is not None:
            if line == "/stats":
                self._show_statistics()
            elif line.startswith("/"):
                self._console.print(HELP, style="dim", soft_wrap=True)
            elif line:
                self._answer(line)

    def _ask(self) -> str | None:
        """The user's next line; None to leave."""
        while True:
            try:
                line = input("> " if sys.stdin.isatty() else "").strip()
            except EOFError:
                self._console.print()
                return None
            except KeyboardInterrupt:
                self._console.print("\n" + HELP, style="dim", soft_wrap=True)
                continue
            return None if line == "/quit" else line

    def _answer(self, line: str) -> None:
        from airdraft.errors import AirdraftError
        from orchestration.cli.answer import Answer
        from orchestration.cli.failures import show
        from orchestration.cli.printing import Coloured, Plain

        prompt, kept = self._dialogue.ask(line)
        terminal = self._console.is_terminal
        printer = Coloured(self._console) if terminal else Plain(sys.stdout)
        answer = Answer(self._session, self._device.contract(prompt), self._device.language, printer, verified_only=not terminal)
        try:
            self._runner.run(answer.run())
        except KeyboardInterrupt:
            self._console.print("stopped", style="yellow")
        except AirdraftError as error:
            show(error)
        if not answer.tokens:
            self._dialogue.unanswered()
            return
        self._last = answer.response
        self._dialogue.answered(prompt, answer.tokens, self._last.text)
        self._console.print(f"({len(prompt)} prompt tokens, {kept} of them kept from before)", style="dim")

    def _show_statistics(self) -> None:
        from orchestration.cli import summary

        if self._last is None:
            self._console.print("nothing has been answered yet", style="dim")
        else:
            self._console.print(summary.table({"": self._last.statistics}))


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    length = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        length += 1
    return length
