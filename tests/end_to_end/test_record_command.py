"""`airdraft record` from a prompt file to a recording that can be replayed."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from orchestration.cli.record import record
from orchestration.recording.recording import read_recording
from tests.recorded_pair import replayed
from tests.tiny_pair import save_pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    save_pair(folder)
    lines = [{"id": f"task/{number}", "question": f"what is {number} and {number}?", "task": "sums"} for number in range(6)]
    (folder / "gsm8k_mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def invoke(folder: Path, *arguments: str):
    application = typer.Typer()
    application.command()(record)
    pair = ["--target", str(folder / "tiny-target"), "--drafter", str(folder / "tiny-drafter"), "--dtype", "float32"]
    return CliRunner().invoke(application, [*pair, "--context", "512", "--max-new-tokens", "12", "--batch", "2", *arguments])


def test_a_prompt_file_becomes_a_recording_that_is_replayed(folder, tmp_path):
    output = tmp_path / "mine.msgpack.z"
    result = invoke(folder, str(folder / "gsm8k_mine.jsonl"), "-o", str(output), "--limit", "3", "--temperature", "0.7", "--seed", "9")
    assert result.exit_code == 0, result.output
    assert "3 of 3 prompts" in result.output and "sums" in result.output
    recording = read_recording(output)
    assert [entry.name for entry in recording.entries] == ["task/0", "task/2", "task/4"]
    assert recording.header.prompts.licence == "MIT" and recording.header.sampling.seed == 9
    assert recording.digest in result.output.replace("\n", "")
    records = replayed(recording, 4, [recording.contract(entry) for entry in recording.entries])
    assert [record.tokens for record in records] == [entry.response for entry in recording.entries]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.msgpack.z"]


def test_settings_that_cannot_be_are_refused_before_a_model_is_loaded(folder, tmp_path):
    result = invoke(folder, str(folder / "gsm8k_mine.jsonl"), "-o", str(tmp_path / "mine.msgpack.z"), "--draft-length", "0")
    assert result.exit_code == 1 and "draft_length" in str(result.exception)
