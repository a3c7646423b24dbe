"""One response on its way: from the session's tokens to what is shown, and to what is known of it when it ends, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from airdraft.messages import Contract
from edge.seams import Token
from edge.statistics import ResponseStatistics
from orchestration.assembly import Language
from orchestration.cli.printing import Printer, feed
from orchestration.cli.summary import Response, finish_of
from orchestration.cli.transcript import Transcript


class Responding(Protocol):
    """What gives the response: a session here, or one at a cluster's device."""

    statistics: ResponseStatistics

    def generate(self, contract: Contract) -> AsyncGenerator[Token, None]:
        """The response's tokens as they come."""
        ...


class Answer:
    """Runs one response. After `run`, also when it was cancelled or failed, `response` says what came of it."""

    def __init__(
        self, session: Responding, contract: Contract, language: Language, printer: Printer, *, verified_only: bool = True
    ) -> None:
        self.tokens: list[int] = []  # verified ones
        self._session = session
        self._contract = contract
        self._language = language
        self._printer = printer
        self._verified_only = verified_only
        self._finish = "failed"

    async def run(self) -> Response:
        """Show the response as it comes. Raises what `Session.generate` raises."""
        transcript = Transcript(self._contract.prompt, self._language.text)
        try:
            async with aclosing(self._session.generate(self._contract)) as tokens:
                async for token in tokens:
                    if token.verified:
                        self.tokens.append(token.id)
                    feed(token, transcript, self._printer, verified_only=self._verified_only)
            self._finish = finish_of(self._contract, self.tokens)
        except asyncio.CancelledError:
            self._finish = "interrupted"
            raise
        finally:
            self._printer.finish(transcript.finish())
        return self.response

    @property
    def response(self) -> Response:
        """What is known of the response so far."""
        text = self._language.text(self.tokens)
        return Response(self._contract, tuple(self.tokens), text, self._session.statistics, self._finish)
