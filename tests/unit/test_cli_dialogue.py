from pathlib import Path

import pytest

from airdraft.errors import SettingsError
from orchestration.assembly import Language
from orchestration.cli.chat import Dialogue, shared_length
from tests.tiny_pair import tokenizer

END = tokenizer().convert_tokens_to_ids("<|im_end|>")


def language(template: str | None = None) -> Language:
    return Language(Path("x"), tokenizer(template) if template else tokenizer(), b"digest", (END,))


def test_the_next_prompt_begins_with_the_last_one_and_its_answer_token_by_token() -> None:
    words = language()
    dialogue = Dialogue(words)
    first, kept = dialogue.ask("hello in there")
    assert kept == 0
    # "in" as two bytes: encoding the text anew would make one token of them
    answer = (words.tokenizer.convert_tokens_to_ids("i"), words.tokenizer.convert_tokens_to_ids("n"), END)
    dialogue.answered(first, answer, words.text(answer))
    second, kept = dialogue.ask("and?")
    assert second[: len(first) + 3] == (*first, *answer) and kept == len(first) + 3
    assert words.text(second, special=True).endswith("<|im_end|>\n<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n")


def test_an_answer_cut_short_is_continued_in_the_template_s_form() -> None:
    words = language()
    dialogue = Dialogue(words)
    first, _ = dialogue.ask("hello")
    answer = tuple(words.tokenizer.encode("part"))
    dialogue.answered(first, answer, "part")
    second, kept = dialogue.ask("more")
    assert kept == len(first) + len(answer)
    assert "part<|im_end|>\n<|im_start|>user\nmore" in words.text(second, special=True)


def test_a_template_that_rewrites_the_answer_still_keeps_what_both_share() -> None:
    words = language("{% for m in messages %}{{ m.role }}:{{ m.content | upper }}\n{% endfor %}>")
    dialogue = Dialogue(words)
    first, _ = dialogue.ask("a")
    dialogue.answered(first, words.tokenizer.encode("small"), "small")
    second, kept = dialogue.ask("b")
    assert words.text(second, special=True) == "user:A\nassistant:SMALL\nuser:B\n>"
    assert kept == shared_length(second, first) > 0


def test_a_question_without_an_answer_is_forgotten() -> None:
    dialogue = Dialogue(language())
    first, _ = dialogue.ask("one")
    dialogue.unanswered()
    assert dialogue.ask("one") == (first, 0)


def test_a_model_without_a_template_is_refused_in_words() -> None:
    words = Language(Path("x"), tokenizer(template=None), b"digest", ())
    with pytest.raises(SettingsError, match="chat template"):
        Dialogue(words).ask("hello")
