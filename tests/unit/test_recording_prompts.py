"""Prompt files in the three known forms."""

import json

import pytest

from airdraft.errors import SettingsError
from orchestration.recording.prompts import read_prompts


def written(folder, name, lines):
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_each_form_gives_its_prompt_its_task_and_its_licence(tmp_path):
    spec = read_prompts(written(tmp_path, "spec_bench.jsonl", [{"id": "a", "task": "qa", "turns": ["first", "second"]}]))
    gsm8k = read_prompts(written(tmp_path, "gsm8k_test.jsonl", [{"id": "b", "question": "how many?", "answer": "7"}]))
    humaneval = read_prompts(written(tmp_path, "humaneval.jsonl", [{"id": "c", "prompt": "def f():"}]))
    assert [(it.prompts[0].text, it.prompts[0].task, it.licence) for it in (spec, gsm8k, humaneval)] == [
        ("first", "qa", "Apache-2.0"),
        ("how many?", "gsm8k_test", "MIT"),
        ("def f():", "humaneval", "MIT"),
    ]


def test_a_limit_takes_evenly_spaced_lines_and_no_more_than_there_are(tmp_path):
    path = written(tmp_path, "mine.jsonl", [{"id": number, "prompt": "text"} for number in range(10)])
    assert [prompt.name for prompt in read_prompts(path, 4).prompts] == ["0", "2", "5", "7"]
    assert len(read_prompts(path, 10).prompts) == len(read_prompts(path, 99).prompts) == len(read_prompts(path).prompts) == 10
    assert read_prompts(path).licence == "not stated"
    assert read_prompts(path, licence="CC0-1.0").licence == "CC0-1.0"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no prompts"),
        ("{", "line 1"),
        ('{"id": 1}', "turns, question, prompt"),
        ('{"turns": []}', "line 1"),
        ('{"prompt": 3}', "no prompt"),
    ],
)
def test_what_is_no_prompt_file_is_refused_in_words(tmp_path, text, match):
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(SettingsError, match=match):
        read_prompts(path)


def test_a_missing_file_is_refused_in_words(tmp_path):
    with pytest.raises(SettingsError, match="can be read"):
        read_prompts(tmp_path / "none.jsonl")
