"""How a response appears while it comes: coloured by origin on a terminal, plain text elsewhere, or one JSON object per line."""

from __future__ import annotations

import json
import unicodedata
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from edge.seams import Origin, Token
from orchestration.cli.transcript import Piece, Transcript

STYLES: dict[Origin, str] = {
    Origin.ACCEPTED: "green",
    Origin.CORRECTED: "yellow",
    Origin.BONUS: "cyan",
    Origin.STREAMED: "default",
    Origin.ALONE: "dim",
}
LEGEND: dict[Origin, str] = {
    Origin.ACCEPTED: "drafted here and accepted",
    Origin.CORRECTED: "the target's, in place of a rejected draft",
    Origin.BONUS: "the target's, after a draft accepted whole",
    Origin.STREAMED: "decoded by the cloud alone",
    Origin.ALONE: "not verified yet",
}


class Printer(Protocol):
    """Shows a response's tokens as they come."""

    def show(self, token: Token, piece: Piece) -> None:
        """One token and the text that became certain with it."""
        ...

    def finish(self, rest: str) -> None:
        """The response is over; `rest` is what was held back."""
        ...


class Coloured:
    """For a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = Origin.STREAMED
        self._at_line_start = True

    def show(self, token: Token, piece: Piece) -> None:
        """In its origin's colour; text that is taken back is named, since a terminal cannot unprint."""
        self._last = token.origin
        if piece.replaces:
            self._write(f"\n[the link is back, and the target says otherwise; replaced: {piece.replaces!r}]\n", "red")
        self._write(piece.text, STYLES[token.origin])

    def finish(self, rest: str) -> None:
        """The rest, and an end of line."""
        self._write(rest, STYLES[self._last])
        if not self._at_line_start:
            self._console.print()

    def _write(self, text: str, style: str) -> None:
        if text:
            self._at_line_start = text.endswith("\n")
            self._console.print(Text(harmless(text), style=style), end="", soft_wrap=True)


class Plain:
    """For a file or a pipe: verified text alone, exactly as it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, token: Token, piece: Piece) -> None:
        """The piece, at once."""
        self._write(piece.text)

    def finish(self, rest: str) -> None:
        """The rest, and an end of line."""
        self._write(rest + "\n")

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


class JsonLines:
    """For programs: an object per token."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, token: Token, piece: Piece) -> None:
        """`text` is what this token completed; joined in order they are the response, whatever was unverified meanwhile."""
        values = {"type": "token", "id": token.id, "position": token.position, "origin": token.origin.value, "verified": token.verified}
        self.write({**values, "text": piece.text})

    def finish(self, rest: str) -> None:
        """Text that no token completed, if any."""
        if rest:
            self.write({"type": "rest", "text": rest})

    def write(self, values: dict[str, Any]) -> None:
        """Any object, on a line of its own."""
        self._stream.write(json.dumps(values, ensure_ascii=False) + "\n")
        self._stream.flush()


class Counting:
    """For an answer that is not to be read yet: how many tokens there are."""

    def __init__(self, status: Status, label: str) -> None:
        self._status = status
        self._label = label
        self._count = 0

    def show(self, token: Token, piece: Piece) -> None:
        """One more."""
        self._count += 1
        self._status.update(f"{self._label}: {self._count} tokens")

    def finish(self, rest: str) -> None:
        """Nothing to show."""


def feed(token: Token, transcript: Transcript, printer: Printer, *, verified_only: bool) -> None:
    """Put a token into the transcript and show it. With `verified_only` an unverified token has no text: that comes once it is verified."""
    if token.verified or not verified_only:
        printer.show(token, transcript.take(token))
    else:
        printer.show(token, Piece("", token.origin, verified=False))


def legend(origins: tuple[Origin, ...] = (Origin.ACCEPTED, Origin.CORRECTED, Origin.BONUS)) -> Text:
    """What the colours mean."""
    line = Text()
    for origin in origins:
        line.append("■ ", style=STYLES[origin]).append(f"{origin.value}: {LEGEND[origin]}   ", style="dim")
    return line


def harmless(text: str) -> str:
    """Without control characters, which could steer the terminal; a model may say anything."""
    return "".join("\ufffd" if unicodedata.category(character) == "Cc" and character not in "\n\t" else character for character in text)
