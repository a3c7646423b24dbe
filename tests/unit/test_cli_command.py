import re
import shlex
import subprocess
import sys

import pytest

from airdraft import __version__
from airdraft.errors import ModelUnavailableError
from airdraft.models import cache, hub, index
from tests.command import ROOT, environment, run_here

COMMANDS = ("demo", "serve", "generate", "chat", "link", "doctor", "models")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("AIRDRAFT_DEBUG", raising=False)
    monkeypatch.delenv("AIRDRAFT_CLOUD", raising=False)


@pytest.mark.parametrize("command", [(), *((each,) for each in COMMANDS), ("models", "fetch"), ("models", "path"), ("models", "list")])
def test_every_command_explains_itself(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, *command, "--help")
    assert ended.code == 0 and "Usage: airdraft" in ended.out
    if not command:
        assert all(each in ended.out for each in COMMANDS)


def test_help_loads_no_heavy_library() -> None:
    listing = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "orchestration.cli", "--help"],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
    ).stderr
    loaded = {line.rpartition("|")[2].strip() for line in listing.splitlines()}
    assert "typer" in loaded and not loaded & {"torch", "transformers", "grpc", "numpy"}


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "--version").out == f"airdraft {__version__}\n"


def test_a_misspelt_command_or_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "genrate").code == 2
    ended = run_here(capsys, "generate", "hi", "--cloud", "x:1", "--draft-lenght", "3")
    assert ended.code == 2 and "--draft-lenght" in ended.err


def test_the_models_are_listed_with_size_licence_and_presence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    ended = run_here(capsys, "models", "list")
    assert ended.code == 0
    line = next(line for line in ended.out.splitlines() if line.startswith("qwen2.5-coder-1.5b"))
    assert re.search(r"\bno\b.*1\.12 GB.*Apache-2\.0", line)
    assert str(cache.root()) in ended.out


def test_an_unknown_model_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("fetch", "path"):
        ended = run_here(capsys, "models", verb, "smollm-135m")
        assert ended.code == 3 and ended.out == ""
        assert ended.err.startswith("error: unknown model 'smollm-135m'. Did you mean 'smollm2-135m'?") and ended.err.count("\n") == 1


def test_the_path_of_a_model_that_is_not_here_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "models", "path", "smollm2-135m")
    assert ended.code == 3 and "airdraft models fetch smollm2-135m" in ended.err


def test_a_folder_is_its_own_path(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert run_here(capsys, "models", "path", str(tmp_path)).out == f"{tmp_path}\n"


def test_a_full_disk_is_said_in_numbers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise ModelUnavailableError("no network in tests")

    def no_download(*arguments: object) -> None:
        raise AssertionError("nothing may be downloaded onto a full disk")

    monkeypatch.setattr(hub, "require_reachable", unreachable)
    monkeypatch.setattr(index, "download", no_download)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: cache.shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    ended = run_here(capsys, "models", "fetch", "smollm2-135m")
    assert ended.code == 3 and "0.00 GB are free" in ended.err and "AIRDRAFT_CACHE" in ended.err
    assert "Traceback" not in ended.err


def test_debug_shows_where_an_error_came_from_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("--debug", "models", "path", "smollm2-135m"), ("models", "path", "smollm2-135m", "--debug")):
        ended = run_here(capsys, *arguments)
        assert ended.code == 3 and "Traceback" in ended.err and "error: 'smollm2-135m' is not" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (("generate", "hi", "--cloud", "127.0.0.1:1", "--drafter", "lookup"), 4, "no verifier can be reached at 127.0.0.1:1"),
        (("generate", "hi", "--cloud", "nonsense"), 2, "host:port"),
        (("generate", " ", "--cloud", "127.0.0.1:1"), 2, "the prompt is empty"),
        (("generate", "hi", "--cloud", "127.0.0.1:1", "--schedule", "steam"), 2, "Did you mean 'stream'?"),
        (("generate", "hi", "--cloud", "127.0.0.1:1", "--rule", "speculative_sampling", "--rule-parameter", "row=3"), 2, "row_width"),
        (("chat", "--cloud", "127.0.0.1:1", "--drafter", "none"), 4, "no verifier can be reached"),
        (("link", "--preset", "6g", "--to", "127.0.0.1:1"), 2, "Did you mean '5g'?"),
        (("link", "--preset", "5g"), 2, "--to HOST:PORT"),
        (("link", "--trace", "nowhere.csv", "--to", "127.0.0.1:1"), 2, "nowhere.csv"),
        (("serve", "--model", "qwen"), 3, "unknown model 'qwen'"),
        (("serve", "--listen", "here"), 2, "--listen 'here'"),
        (("demo", "--link", "wify"), 2, "Did you mean 'wifi'?"),
        (("demo", "--model", "nothing-like-it"), 3, "unknown model"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    arguments: tuple[str, ...], code: int, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run_here(capsys, *arguments)
    assert ended.code == code, ended.err
    assert hint in ended.err and "Traceback" not in ended.err
    assert ended.err.splitlines()[-1].startswith("error: ")


def test_an_error_is_told_to_programs_on_their_own_channel(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "generate", "hi", "--cloud", "127.0.0.1:1", "--drafter", "none", "--json")
    assert ended.code == 4
    assert re.fullmatch(r'\{"type": "error", "code": "unavailable", "message": "no verifier.*"\}\n', ended.out)


def test_the_doctor_without_a_cloud_says_what_it_did_not_measure(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "doctor", "--drafter", "lookup")
    assert ended.code == 0
    assert "not measured  drafting pays: no --cloud was given" in ended.out


def test_the_doctor_fails_when_the_drafter_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "doctor")
    assert ended.code == 1
    assert "→ airdraft models fetch qwen2.5-coder-0.5b" in ended.out


def test_the_doctor_fails_when_the_verifier_cannot_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "doctor", "--drafter", "lookup", "--cloud", "127.0.0.1:1")
    assert ended.code == 1
    assert "no verifier can be reached at 127.0.0.1:1" in ended.out and "airdraft serve" in ended.out


def documented_commands() -> list[str]:
    """Every `airdraft …` line of the documentation's code blocks."""
    lines = []
    for page in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        text = (ROOT / page).read_text() if (ROOT / page).exists() else ""
        for block in re.findall(r"^```(?:sh|bash|console|shell)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            joined = block.replace("\\\n", " ")
            lines += [
                line.strip().removeprefix("$ ") for line in joined.splitlines() if line.strip().removeprefix("$ ").startswith("airdraft ")
            ]
    return lines


@pytest.mark.parametrize(
    "line", [*documented_commands(), "airdraft generate 'hi' --cloud 127.0.0.1:50051 --json | head -1  # as documented"]
)
def test_every_documented_command_and_option_exists(line: str) -> None:
    import typer

    from orchestration.cli.application import application

    words = shlex.split(re.split(r"\s[|>&]|<", line)[0], comments=True)[1:]
    command = typer.main.get_command(application)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help",
        "-h",
        "--debug",
    }
    assert {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known, line
