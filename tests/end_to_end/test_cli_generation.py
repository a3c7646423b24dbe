"""`airdraft generate`, `chat` and `doctor` against a verifier in a process of its own, with a tiny pair that is saved for the purpose."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from orchestration.cli.addresses import written
from orchestration.cli.verifier_process import VerifierProcess
from tests.command import Ended, run_here
from tests.tiny_models import tiny_llama
from tests.tiny_pair import VOCABULARY, save, save_pair, tokenizer

PROMPT = "hello in the world"
TOKENS = 40


class World:
    """The pair's folders and the verifier's address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target, self.drafter = save_pair(folder)
        self.cloud = ""

    def truth(self, prompt: str = PROMPT, tokens: int = TOKENS, raw: bool = True) -> str:
        """The target's own greedy answer, by transformers."""
        fast = tokenizer()
        messages = [{"role": "user", "content": prompt}]
        text = prompt if raw else fast.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = torch.tensor([fast.encode(text, add_special_tokens=False)])
        model = AutoModelForCausalLM.from_pretrained(self.target, dtype=torch.float32)
        with torch.inference_mode():
            answer = model.generate(ids, max_new_tokens=tokens, do_sample=False, eos_token_id=fast.eos_token_id, pad_token_id=0)
        return fast.decode(answer[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    here = World(tmp_path_factory.mktemp("pair"))
    with VerifierProcess(["--model", str(here.target), "--dtype", "float32", "--context", "1024", "--threads", "1"]) as process:
        here.cloud = written(process.wait_until_ready())
        yield here


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path / "cache"))
    for name in ("AIRDRAFT_DEBUG", "AIRDRAFT_CLOUD", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")


class Asking:
    """Runs `airdraft generate` on the prompt."""

    def __init__(self, capsys: pytest.CaptureFixture[str], world: World) -> None:
        self.capsys = capsys
        self.world = world

    def __call__(self, *options: str, prompt: str = PROMPT, drafter: str | None = None, tokens: int = TOKENS) -> Ended:
        chosen = drafter or f"model:{self.world.drafter}"
        language = [] if chosen.startswith("model:") else ["--tokenizer", str(self.world.target)]
        return run_here(
            self.capsys, "generate", prompt, "--cloud", self.world.cloud, "--drafter", chosen, "--max-new-tokens", str(tokens),
            *(["--dtype", "float32"] if chosen.startswith("model:") else []), *language, *options,
        )  # fmt: skip

    def lines(self, *options: str, **others) -> list[dict]:
        ended = self(*options, "--json", **others)
        assert ended.code == 0, ended.err
        return [json.loads(line) for line in ended.out.splitlines()]

    def text(self, *options: str, **others) -> str:
        return self.lines(*options, **others)[-1]["text"]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], world: World) -> Asking:
    return Asking(capsys, world)


def test_the_answer_is_the_target_s_own_and_goes_to_standard_output_alone(ask: Asking) -> None:
    ended = ask("--raw")
    assert (ended.code, ended.out) == (0, ask.world.truth() + "\n")
    for figure in (
        "accepted per round",
        "tokens per round (accepted + 1)",
        "time to first token",
        "target seconds per token",
        "reconnects",
    ):
        assert figure in ended.err


def test_the_chat_template_is_applied_unless_raw_is_asked_for(ask: Asking) -> None:
    assert ask.text() == ask.world.truth(raw=False) != ask.world.truth(raw=True)


@pytest.mark.parametrize("options", [("--draft-length", "1"), ("--draft-length", "8"), ("--schedule", "stream")])
def test_draft_length_and_schedule_do_not_change_the_text(ask: Asking, options: tuple[str, ...]) -> None:
    assert ask.text("--raw", *options) == ask.world.truth()


@pytest.mark.parametrize("drafter", ["lookup", "none", "random"])
def test_other_drafters_do_not_change_the_text(ask: Asking, drafter: str) -> None:
    assert ask.text("--raw", drafter=drafter) == ask.world.truth()


def test_sampled_text_is_one_per_seed_whatever_drafts(ask: Asking) -> None:
    sampled = ("--raw", "--temperature", "1", "--top-k", "30", "--top-p", "0.95", "--seed")
    text = ask.text(*sampled, "5")
    assert text == ask.text(*sampled, "5", drafter="lookup") == ask.text(*sampled, "5", "--schedule", "stream")
    assert text != ask.text(*sampled, "6")


def test_speculative_sampling_is_chosen_by_its_name_with_a_dash(ask: Asking) -> None:
    options = ("--raw", "--rule", "speculative-sampling", "--rule-parameter", "row_width=8", "--temperature", "0.8", "--json")
    summary = json.loads(ask(*options).out.splitlines()[-1])
    assert summary["rule"] == {"name": "speculative_sampling", "parameters": {"row_width": 8.0}}
    assert summary["tokens"] == TOKENS and summary["acceptance_rate"] > 0


def test_json_lines_hold_every_token_and_a_summary_that_agrees_with_them(ask: Asking) -> None:
    lines = ask.lines("--raw")
    tokens, summary = [line for line in lines if line["type"] == "token"], lines[-1]
    assert [line["type"] for line in lines].count("summary") == 1 and summary["type"] == "summary"
    assert len(tokens) == summary["tokens"] == TOKENS
    assert "".join(line["text"] for line in lines if line["type"] in ("token", "rest")) == summary["text"]
    assert {origin: count for origin, count in summary["origins"].items() if count} == {
        origin: sum(line["origin"] == origin for line in tokens) for origin in {line["origin"] for line in tokens}
    }
    assert [line["position"] for line in tokens] == list(range(summary["prompt_tokens"], summary["prompt_tokens"] + TOKENS))
    assert 0 < summary["acceptance_rate"] < 1 and summary["finish"] == "length"
    assert summary["sampling"] == {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}


def test_the_prompt_may_come_from_standard_input(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(PROMPT))
    assert ask("--raw", prompt="-").out == ask.world.truth() + "\n"


def test_on_a_terminal_tokens_are_coloured_by_origin_under_a_legend(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    ended = ask("--raw")
    assert ended.code == 0
    assert "accepted: drafted here" in ended.out
    assert all(colour in ended.out for colour in ("\x1b[32m", "\x1b[33m", "\x1b[36m"))


def test_a_lookup_device_needs_a_folder_with_the_tokenizer_and_no_weights(ask: Asking, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja"):
        if (ask.world.target / name).exists():
            shutil.copy(ask.world.target / name, folder)
    ended = ask("--raw", "--tokenizer", str(folder), drafter="lookup")
    assert ended.code == 0 and ended.out == ask.world.truth() + "\n"


def test_without_any_tokenizer_a_lookup_device_is_told_what_to_give(ask: Asking, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "generate", "x", "--cloud", ask.world.cloud, "--drafter", "lookup")
    assert ended.code == 2 and "--tokenizer" in ended.err


def test_a_drafter_of_another_family_is_refused_in_words(ask: Asking, tmp_path: Path) -> None:
    other = save(tiny_llama(vocabulary=VOCABULARY + 1), tmp_path / "other")
    longer = tokenizer()
    longer.add_tokens(["<|more|>"])
    longer.save_pretrained(other)
    ended = ask(drafter=f"model:{other}")
    assert ended.code == 2 and "tokenizer" in ended.err and ended.out == ""


def test_a_prompt_that_is_too_long_is_refused_with_the_limit(ask: Asking) -> None:
    ended = ask("--raw", prompt="a" * 2000)
    assert ended.code == 2
    assert "the prompt has 2000 tokens" in ended.err and "holds 1024" in ended.err


def test_a_settings_file_serves_as_well_as_flags(ask: Asking, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "device.toml"
    file.write_text(f'max_new_tokens = {TOKENS}\nschedule = "stream"\n[drafter]\nkind = "lookup"\n')
    ended = run_here(
        capsys, "generate", PROMPT, "--raw", "--cloud", ask.world.cloud, "--settings", str(file), "--tokenizer", str(ask.world.target)
    )
    assert (ended.code, ended.out) == (0, ask.world.truth() + "\n")


def test_a_conversation_reuses_its_text_and_answers_commands(
    ask: Asking, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("/stats\nhello\nand then?\n/stats\n/what\n\n/quit\nnever asked\n"))
    ended = run_here(
        capsys, "chat", "--cloud", ask.world.cloud, "--drafter", f"model:{ask.world.drafter}", "--dtype", "float32",
        "--max-new-tokens", "12",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "nothing has been answered yet" in ended.out
    assert ask.world.truth("hello", 12, raw=False) in ended.out
    first, second = (line for line in ended.out.splitlines() if "prompt tokens," in line)
    prompt = int(first.removeprefix("(").split()[0])
    assert "0 of them kept" in first and f"{prompt + 12} of them kept" in second
    assert "tokens per round" in ended.out and "never asked" not in ended.out


def test_the_doctor_measures_and_says_whether_drafting_pays(ask: Asking, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "doctor", "--cloud", ask.world.cloud, "--drafter", f"model:{ask.world.drafter}", "--dtype", "float32")
    assert ended.code == 0, ended.out
    found = {line[14:].partition(":")[0]: line for line in ended.out.splitlines() if line[:14].strip()}
    for name in (
        "python",
        "torch",
        "transformers",
        "grpc",
        "verifier",
        "drafter",
        "tokenizer",
        "round trip",
        "draft step",
        "forward, 1 row",
    ):
        assert found[name].strip().startswith("ok"), found[name]
    assert "forward, 5 rows" in found and "acceptance" in found
    assert "expected" in found["drafting pays"] and "measured:" in found["drafting pays"]


def test_the_doctor_measures_what_a_device_without_a_model_can(ask: Asking, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "doctor", "--cloud", ask.world.cloud, "--drafter", "none", "--tokenizer", str(ask.world.drafter))
    assert ended.code == 0, ended.out
    assert "not measured  acceptance: nothing was drafted" in ended.out
    assert "not measured  drafting pays" in ended.out
