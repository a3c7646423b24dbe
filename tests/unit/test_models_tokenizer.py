import json
from pathlib import Path
from typing import Any

import pytest

from airdraft.errors import CorruptModelError, PairMismatchError, SettingsError
from airdraft.models.configuration import vocabulary_size
from airdraft.models.pair import check_pair
from airdraft.models.tokenizer import chat_prompt, load_tokenizer, stop_tokens, tokenizer_digest, vocabulary

TOKENS = ["a", "b", "c", " ", "ab", "abc", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
)


def folder_with(tmp_path: Path, name: str, *, width: int = 8, **changes: Any) -> Path:
    """A model folder with a BPE tokenizer of eight tokens, the last two of them added; `changes` replace parts of it."""
    tokens = changes.get("tokens", TOKENS)
    merges = changes.get("merges", [["a", "b"], ["ab", "c"]])
    added = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, t in enumerate(tokens)
        if t.startswith("<|")
    ]
    model = {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges}
    form = {"version": "1.0", "added_tokens": added, "model": model, "pre_tokenizer": None, "normalizer": None, "decoder": None}
    folder = tmp_path / name
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(form))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": changes.get("template", TEMPLATE)})
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": width, **changes.get("config", {})}))
    return folder


def change(folder: Path, edit: Any) -> Path:
    form = json.loads((folder / "tokenizer.json").read_text())
    edit(form)
    (folder / "tokenizer.json").write_text(json.dumps(form))
    return folder


def test_a_folder_and_its_loaded_tokenizer_have_one_digest_of_sixteen_bytes(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "one")
    digest = tokenizer_digest(folder)
    assert len(digest) == 16
    assert tokenizer_digest(load_tokenizer(folder)) == digest


def test_the_digest_does_not_depend_on_how_the_same_tokenizer_is_written(tmp_path: Path) -> None:
    digest = tokenizer_digest(folder_with(tmp_path, "one"))

    def merges_as_text(form: Any) -> None:
        form["model"]["merges"] = [" ".join(merge) for merge in form["model"]["merges"]]

    def added_tokens_apart(form: Any) -> None:
        form["model"]["vocab"] = {t: i for t, i in reversed(form["model"]["vocab"].items()) if i < 6}

    def filled_up(form: Any) -> None:
        form["model"]["vocab"]["[PAD8]"] = 8

    for number, edit in enumerate((merges_as_text, added_tokens_apart, filled_up)):
        assert tokenizer_digest(change(folder_with(tmp_path, f"other{number}"), edit)) == digest


def test_a_token_a_merge_or_an_added_token_changes_the_digest(tmp_path: Path) -> None:
    base = folder_with(tmp_path, "base")
    others = [
        folder_with(tmp_path, "token", tokens=["a", "b", "c", "_", *TOKENS[4:]]),
        folder_with(tmp_path, "merges", merges=[["ab", "c"], ["a", "b"]]),
        folder_with(tmp_path, "added", tokens=[*TOKENS, "<|more|>"]),
        change(folder_with(tmp_path, "misplaced"), lambda form: form["model"]["vocab"].update({"[PAD9]": 8})),
    ]
    assert len({tokenizer_digest(folder) for folder in [base, *others]}) == 5


def test_a_unigram_vocabulary_is_read_by_position(tmp_path: Path) -> None:
    folder = change(folder_with(tmp_path, "one"), lambda form: form.update(model={"type": "Unigram", "vocab": [["x", -1.0], ["y", -2.0]]}))
    assert vocabulary(folder).tokens == {0: "x", 1: "y", 6: "<|im_start|>", 7: "<|im_end|>"}


def test_a_pair_of_different_widths_works_when_the_tokens_are_the_same(tmp_path: Path) -> None:
    assert check_pair(folder_with(tmp_path, "drafter", width=8), folder_with(tmp_path, "target", width=64)) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokens": ["a", "B", *TOKENS[2:]], "merges": []}, "token 1: 'B' in the drafter, 'b' in the target"),
        ({"tokens": [*TOKENS, "<|more|>"]}, "token 8: '<|more|>' in the drafter, nothing in the target"),
        ({"merges": [["a", "b"], ["a", "bc"]]}, "merge 1: 'a bc' in the drafter, 'ab c' in the target"),
        ({"merges": [["a", "b"]]}, "number of merges: 1 in the drafter, 2 in the target"),
        ({"width": 7}, "has 7 logits and its tokenizer 8 tokens"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused_with_the_first_difference(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    drafter, target = folder_with(tmp_path, "drafter", **changes), folder_with(tmp_path, "target")
    with pytest.raises(PairMismatchError) as caught:
        check_pair(drafter, target)
    assert words in caught.value.message


def test_the_width_is_read_from_the_configuration_or_its_text_part(tmp_path: Path) -> None:
    assert vocabulary_size(folder_with(tmp_path, "one", width=99)) == 99
    folder = folder_with(tmp_path, "two")
    (folder / "config.json").write_text('{"text_config": {"vocab_size": 12}}')
    assert vocabulary_size(folder) == 12
    for content in ("{}", "[]", "{"):
        (folder / "config.json").write_text(content)
        with pytest.raises(CorruptModelError, match=r"config\.json"):
            vocabulary_size(folder)


@pytest.mark.parametrize("content", ["", "{}", '{"model": {"vocab": {"a": "x"}}}', '{"model": {"vocab": {}, "merges": [["a"]]}}'])
def test_a_damaged_tokenizer_file_is_named(tmp_path: Path, content: str) -> None:
    folder = folder_with(tmp_path, "one")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(CorruptModelError, match=r"tokenizer\.json"):
        tokenizer_digest(folder)


def test_a_conversation_becomes_ids_that_end_where_the_answer_begins(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder_with(tmp_path, "one"))
    assert chat_prompt(tokenizer, [{"role": "user", "content": "abc"}, {"role": "user", "content": "ab"}]) == (6, 5, 7, 6, 4, 7, 6)


@pytest.mark.parametrize(
    ("template", "words"), [(None, "no chat template"), ("{{ raise_exception('roles must alternate') }}", "roles must alternate")]
)
def test_a_conversation_that_cannot_be_written_is_refused(tmp_path: Path, template: str | None, words: str) -> None:
    tokenizer = load_tokenizer(folder_with(tmp_path, "one", template=template))
    with pytest.raises(SettingsError, match=words):
        chat_prompt(tokenizer, [{"role": "user", "content": "abc"}])


def test_stop_tokens_come_from_every_file_and_from_the_usual_names(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "one", config={"eos_token_id": 2})
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
    (folder / "tokenizer_config.json").write_text('{"eos_token": {"content": "c"}}')
    assert stop_tokens(folder) == (0, 1, 2, 7)
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text('{"eos_token_id": null, "vocab_size": 8}')
    (folder / "tokenizer_config.json").write_text('{"eos_token": "abc"}')
    assert stop_tokens(folder) == (5, 7)


def test_a_stop_token_without_a_logit_is_left_out(tmp_path: Path) -> None:
    assert stop_tokens(folder_with(tmp_path, "one", width=7, config={"eos_token_id": 3})) == (3,)
