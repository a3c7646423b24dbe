"""An answer on its way, with a session that is a script: what is shown, and what is known when it ends otherwise than planned."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from rich.console import Console

from airdraft.errors import LinkLostError
from airdraft.messages import Contract
from edge.seams import Origin, Token
from edge.statistics import ResponseStatistics
from orchestration.assembly import Language
from orchestration.cli.answer import Answer
from orchestration.cli.printing import Coloured, JsonLines, Plain
from tests.tiny_pair import tokenizer

WORDS = tokenizer()
PROMPT = tuple(WORDS.encode("say"))


class Scripted:
    """Yields these tokens, then raises if told to."""

    def __init__(self, *tokens: Token, then: BaseException | None = None) -> None:
        self.statistics = ResponseStatistics()
        self._tokens = tokens
        self._then = then

    async def generate(self, contract: Contract) -> AsyncGenerator[Token, None]:
        for token in self._tokens:
            yield token
        if self._then is not None:
            raise self._then


def tokens(text: str, start: int = 0, origin: Origin = Origin.ACCEPTED) -> list[Token]:
    ids = WORDS.encode(text)
    return [Token(id, len(PROMPT) + start + index, origin, origin is not Origin.ALONE) for index, id in enumerate(ids)]


def answer(session: Scripted, printer, **options) -> Answer:
    contract = Contract(1, "target", b"digest", 260, PROMPT, stop_tokens=(WORDS.eos_token_id,), max_new_tokens=4)
    return Answer(session, contract, Language(Path("x"), WORDS, b"digest", ()), printer, **options)


ALONE_THEN_CORRECTED = (*tokens("abc", 0, Origin.ALONE), *tokens("a"), *tokens("XY", 1, Origin.CORRECTED), *tokens("Z", 3))


async def test_plain_text_holds_verified_tokens_alone() -> None:
    out = io.StringIO()
    response = await answer(Scripted(*ALONE_THEN_CORRECTED), Plain(out)).run()
    assert out.getvalue() == "aXYZ\n" and response.text == "aXYZ" and response.finish == "length"


async def test_json_tokens_joined_are_the_response_whatever_was_unverified_meanwhile() -> None:
    out = io.StringIO()
    await answer(Scripted(*ALONE_THEN_CORRECTED), JsonLines(out)).run()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert "".join(line["text"] for line in lines) == "aXYZ"
    assert [line["verified"] for line in lines] == [False] * 3 + [True] * 4


async def test_a_terminal_shows_unverified_text_at_once_and_says_what_replaces_it() -> None:
    out = io.StringIO()
    printer = Coloured(Console(file=out, force_terminal=True, color_system=None, width=200))
    await answer(Scripted(*ALONE_THEN_CORRECTED), printer, verified_only=False).run()
    assert out.getvalue().startswith("abc\n[the link is back") and "replaced: 'bc'" in out.getvalue()
    assert out.getvalue().endswith("XYZ\n")


async def test_a_stop_token_is_why_it_ended_and_not_part_of_the_text() -> None:
    out = io.StringIO()
    session = Scripted(*tokens("ab"), Token(WORDS.eos_token_id, len(PROMPT) + 2, Origin.BONUS))
    response = await answer(session, Plain(out)).run()
    assert out.getvalue() == "ab\n" and response.finish == "stop_token"


@pytest.mark.parametrize(("fault", "finish"), [(LinkLostError("gone"), "failed"), (asyncio.CancelledError(), "interrupted")])
async def test_what_came_before_a_fault_is_kept(fault: BaseException, finish: str) -> None:
    out = io.StringIO()
    asked = answer(Scripted(*tokens("ab"), then=fault), Plain(out))
    with pytest.raises(type(fault)):
        await asked.run()
    assert out.getvalue() == "ab\n" and asked.response.text == "ab" and asked.response.finish == finish
