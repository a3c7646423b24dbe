import io
import json

from rich.console import Console

from edge.seams import Origin, Token
from orchestration.cli.printing import LEGEND, STYLES, Coloured, JsonLines, Plain, harmless, legend
from orchestration.cli.transcript import Piece


def token(origin: Origin = Origin.ACCEPTED, verified: bool = True) -> Token:
    return Token(7, 3, origin, verified)


def coloured() -> tuple[Coloured, io.StringIO]:
    out = io.StringIO()
    return Coloured(Console(file=out, force_terminal=True, color_system="standard", width=40)), out


def test_every_origin_has_a_style_and_an_explanation() -> None:
    assert set(STYLES) == set(LEGEND) == set(Origin)
    assert all(origin.value in legend(tuple(Origin)).plain for origin in Origin)


def test_origins_are_told_apart_by_colour() -> None:
    printer, out = coloured()
    for origin in (Origin.ACCEPTED, Origin.CORRECTED, Origin.BONUS):
        printer.show(token(origin), Piece(origin.value, origin))
    printer.finish("")
    assert out.getvalue() == "\x1b[32maccepted\x1b[0m\x1b[33mcorrected\x1b[0m\x1b[36mbonus\x1b[0m\n"


def test_long_text_is_not_wrapped_by_us_and_ends_with_one_line_end() -> None:
    printer, out = coloured()
    printer.show(token(Origin.STREAMED), Piece("word " * 30 + "\n", Origin.STREAMED))
    printer.finish("")
    assert out.getvalue().count("\n") == 1


def test_text_taken_back_is_named() -> None:
    printer, out = coloured()
    printer.show(token(Origin.CORRECTED), Piece("right", Origin.CORRECTED, True, "wrong"))
    assert "'wrong'" in out.getvalue() and "right" in out.getvalue()


def test_a_model_cannot_steer_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\rc\x07\n\td") == "a\ufffd[2Jb\ufffdc\ufffd\n\td"
    printer, out = coloured()
    printer.show(token(), Piece("\x1b]0;title\x07[bold]x[/bold]", Origin.ACCEPTED))
    assert "\x1b]0" not in out.getvalue() and "[bold]x[/bold]" in out.getvalue()


def test_plain_text_is_exactly_the_text() -> None:
    out = io.StringIO()
    printer = Plain(out)
    printer.show(token(), Piece("[bold] ☺", Origin.ACCEPTED))
    printer.finish("\ufffd")
    assert out.getvalue() == "[bold] ☺\ufffd\n"


def test_json_lines_are_one_object_each() -> None:
    out = io.StringIO()
    printer = JsonLines(out)
    printer.show(token(Origin.ALONE, verified=False), Piece("é\n", Origin.ALONE, False))
    printer.finish("")
    printer.finish("�")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines == [
        {"type": "token", "id": 7, "position": 3, "origin": "alone", "verified": False, "text": "é\n"},
        {"type": "rest", "text": "�"},
    ]
