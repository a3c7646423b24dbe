from collections.abc import Sequence

import pytest

from edge.seams import Origin, Token
from orchestration.cli.transcript import Transcript
from tests.tiny_pair import tokenizer

PROMPT_START = 3


def decode_bytes(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode(errors="replace")


def tokens_of(text: str | bytes, start: int = PROMPT_START, **others) -> list[Token]:
    data = text.encode() if isinstance(text, str) else text
    return [Token(byte, start + index, Origin.ACCEPTED, **others) for index, byte in enumerate(data)]


def transcript() -> Transcript:
    return Transcript(list(b"ask"), decode_bytes)


@pytest.mark.parametrize("text", ["plain", "naïve café", "🙂🙃 ok", "日本語", " leading and trailing ", "line\n\nline"])
def test_the_pieces_joined_are_the_text_and_none_holds_half_a_character(text: str) -> None:
    growing = transcript()
    pieces = [growing.take(token).text for token in tokens_of(text)]
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) + growing.finish() == text == growing.text


def test_a_character_of_four_tokens_comes_with_its_last_one() -> None:
    growing = transcript()
    assert [growing.take(token).text for token in tokens_of("🙂!")] == ["", "", "", "🙂", "!"]


def test_bytes_that_never_become_a_character_are_shown_at_the_end_or_once_something_follows() -> None:
    growing = transcript()
    assert [growing.take(token).text for token in tokens_of(b"a\xf0\x9f")] == ["a", "", ""]
    assert growing.finish() == "\ufffd"
    other = transcript()
    assert "".join(other.take(token).text for token in tokens_of(b"a\xf0b")) == "a\ufffdb"


def test_a_real_tokenizer_keeps_the_space_before_the_first_word() -> None:
    fast = tokenizer()
    prompt, answer = fast.encode("say"), fast.encode(" the 日本 in")
    growing = Transcript(prompt, lambda ids: fast.decode(list(ids), skip_special_tokens=True))
    pieces = [growing.take(Token(id, len(prompt) + index, Origin.STREAMED)).text for index, id in enumerate(answer)]
    assert "".join(pieces) == " the 日本 in"


def test_confirming_an_unverified_token_shows_nothing_twice() -> None:
    growing = transcript()
    shown = [growing.take(token).text for token in tokens_of("abc", verified=False)]
    confirmed = [growing.take(token) for token in tokens_of("abc")]
    assert shown == ["a", "b", "c"]
    assert [piece.text for piece in confirmed] == ["", "", ""] and not any(piece.replaces for piece in confirmed)


def test_another_token_replaces_an_unverified_one_and_everything_after_it() -> None:
    growing = transcript()
    for token in tokens_of("abcd", verified=False):
        growing.take(token)
    growing.take(tokens_of("a")[0])
    piece = growing.take(Token(ord("X"), PROMPT_START + 1, Origin.CORRECTED))
    assert (piece.text, piece.replaces) == ("X", "bcd")
    assert growing.text == "aX"
    assert growing.take(Token(ord("Y"), PROMPT_START + 2, Origin.BONUS)).text == "Y"
