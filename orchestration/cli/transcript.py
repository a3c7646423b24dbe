"""A response as text that grows: tokens in, pieces of text out, each only once it is certain to stay.

A character may need several tokens, and a token's spaces depend on what is before it, so the response is decoded as a whole each time and
what is new and complete is passed on. It prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.seams import Origin, Token

UNFINISHED = "\ufffd"  # what a decoder gives for the first bytes of a character whose others are yet to come
CONTEXT = 8  # tokens of the prompt's end that are decoded along, for the spaces of the first token


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that became certain with one token, and who brought it. `replaces`: unverified text shown before that it takes the place of."""

    text: str
    origin: Origin
    verified: bool = True
    replaces: str = ""


class Transcript:
    """The response so far. `decode` turns token ids into text without markers."""

    def __init__(self, prompt: Sequence[int], decode: Callable[[Sequence[int]], str]) -> None:
        self.tokens: list[int] = []
        self._start = len(prompt)
        self._decode = decode
        self._context = list(prompt[-CONTEXT:])
        self._skip = len(decode(self._context))
        self._shown = ""

    @property
    def text(self) -> str:
        """All of it, what is not certain yet included."""
        return self._decode([*self._context, *self.tokens])[self._skip :]

    def take(self, token: Token) -> Piece:
        """The piece that this token completes (its text may be empty). One that confirms an unverified token brings nothing new."""
        index = token.position - self._start
        if index < len(self.tokens) and self.tokens[index] == token.id:
            return Piece("", token.origin, token.verified)
        replaced = self._cut(index)
        self.tokens.append(token.id)
        return Piece(self._advance(self.text.rstrip(UNFINISHED)), token.origin, token.verified, replaced)

    def finish(self) -> str:
        """What was held back: the response is over, so nothing will complete it."""
        return self._advance(self.text)

    def _advance(self, text: str) -> str:
        new, self._shown = text[len(self._shown) :], max(text, self._shown, key=len)
        return new

    def _cut(self, index: int) -> str:
        """Take back the tokens from `index` on, and the text shown of them."""
        if index >= len(self.tokens):
            return ""
        del self.tokens[index:]
        kept = self.text.rstrip(UNFINISHED)
        taken_back, self._shown = self._shown[len(kept) :], self._shown[: len(kept)]
        return taken_back
