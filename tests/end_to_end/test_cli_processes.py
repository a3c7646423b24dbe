"""The commands as processes: they start, say so, work together, and end cleanly however they are ended."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.command import DEADLINE_S, Ended, environment, run, start
from tests.tiny_pair import save_pair

SLOW = ("--round-trip-ms", "300")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    target, drafter = save_pair(tmp_path_factory.mktemp("pair"))
    return str(target), str(drafter)


@pytest.fixture(scope="module")
def cloud(pair: tuple[str, str]) -> Iterator[str]:
    with serving(pair[0]) as (process, address):
        yield address
        code = end(process, signal.SIGTERM)
        assert code.code == 0, code.err
    assert not reachable(address)


@contextmanager
def serving(target: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = start(["serve", "--model", target, "--dtype", "float32", "--listen", "127.0.0.1:0", "--slots", "4"])
    with killed_at_the_end(process):
        yield process, ready(process)


@contextmanager
def shaping(upstream: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = start(["link", "--listen", "127.0.0.1:0", "--to", upstream, *options])
    with killed_at_the_end(process):
        yield process, ready(process)


@contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait(DEADLINE_S)


def ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    assert line.startswith("ready: "), line + process.stderr.read()
    return line.split()[1]


def end(process: subprocess.Popen[str], number: int) -> Ended:
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_S)
    return Ended(process.returncode, out, err)


def reachable(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def until_first_output(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read(1)


def drafting(pair: tuple[str, str], cloud: str, *options: str) -> list[str]:
    return ["--cloud", cloud, "--drafter", f"model:{pair[1]}", "--dtype", "float32", *options]


def test_an_answer_through_an_emulated_link_is_the_one_without(pair: tuple[str, str], cloud: str) -> None:
    options = drafting(pair, cloud, "--max-new-tokens", "16", "--raw")
    direct = run("generate", "hello", *options)
    assert direct.code == 0, direct.err
    with shaping(cloud, "--preset", "lte") as (link, address):
        through = run("generate", "hello", *drafting(pair, address, "--max-new-tokens", "16", "--raw", "--json"))
        assert through.code == 0, through.err
        summary = json.loads(through.out.splitlines()[-1])
        assert summary["text"] + "\n" == direct.out
        assert summary["time_to_first_token_s"] >= 0.04, "one LTE round trip at least"
        ended = end(link, signal.SIGINT)
    assert ended.code == 0 and "Traceback" not in ended.err
    assert int(re.search(r"up (\d+) bytes", ended.out).group(1)) > 0  # type: ignore[union-attr]  # it raises when missing
    assert not reachable(address)


def test_interrupted_an_answer_ends_at_once_with_what_it_cost_so_far(pair: tuple[str, str], cloud: str) -> None:
    with shaping(cloud, *SLOW) as (_, address):
        process = start(["generate", "hello", *drafting(pair, address, "--max-new-tokens", "900", "--raw")])
        with killed_at_the_end(process):
            until_first_output(process)
            ended = end(process, signal.SIGINT)
    assert ended.code == 130
    assert "interrupted" in ended.err and "time to first token" in ended.err and "Traceback" not in ended.err


def test_interrupted_json_still_ends_with_a_summary(pair: tuple[str, str], cloud: str) -> None:
    with shaping(cloud, *SLOW) as (_, address):
        process = start(["generate", "hello", *drafting(pair, address, "--max-new-tokens", "900", "--raw", "--json")])
        with killed_at_the_end(process):
            assert process.stdout is not None
            first = process.stdout.readline()
            ended = end(process, signal.SIGINT)
    lines = [json.loads(line) for line in (first + ended.out).splitlines()]
    assert ended.code == 130 and lines[-1]["type"] == "summary" and lines[-1]["finish"] == "interrupted"
    assert lines[-1]["tokens"] == len([line for line in lines if line["type"] == "token"]) > 0


def test_a_reader_that_has_seen_enough_causes_no_traceback(pair: tuple[str, str], cloud: str) -> None:
    with shaping(cloud, *SLOW) as (_, address):
        process = start(["generate", "hello", *drafting(pair, address, "--max-new-tokens", "900", "--raw")])
        with killed_at_the_end(process):
            until_first_output(process)
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            assert process.wait(DEADLINE_S) != 0
            assert "Traceback" not in process.stderr.read()


def test_in_a_chat_an_interrupt_stops_the_answer_and_not_the_chat(pair: tuple[str, str], cloud: str) -> None:
    with shaping(cloud, *SLOW) as (_, address):
        process = start(["chat", *drafting(pair, address, "--max-new-tokens", "900")])
        with killed_at_the_end(process):
            assert process.stdin is not None and process.stdout is not None
            assert "/quit" in process.stdout.readline()
            process.stdin.write("hello\n")
            process.stdin.flush()
            until_first_output(process)
            process.send_signal(signal.SIGINT)
            while "prompt tokens" not in process.stdout.readline():
                pass
            out, err = process.communicate("/stats\n", timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert "tokens per round" in out and "Traceback" not in err


def test_the_link_measures_itself() -> None:
    ended = run("link", "--measure", "--round-trip-ms", "20", "--uplink-mbps", "20", "--downlink-mbps", "50")
    assert ended.code in (0, 1), ended.err
    assert ("delivered as asked" in ended.out) == (ended.code == 0)
    assert "20.00 ms" in ended.out and "20.0 Mbit/s" in ended.out and "50.0 Mbit/s" in ended.out


def test_the_demo_answers_both_ways_and_leaves_nothing_behind(pair: tuple[str, str]) -> None:
    ended = run(
        "demo", "--model", pair[0], "--drafter", f"model:{pair[1]}", "--dtype", "float32", "--threads", "1",
        "--max-new-tokens", "24", "--link", "wifi", "--prompt", "hello",
    )  # fmt: skip
    assert ended.code == 0, ended.out + ended.err
    assert "Both texts are identical, token for token (24 of 24)." in ended.out
    assert re.search(r"^ *drafted +streamed *$", ended.out, re.MULTILINE)
    assert re.search(r"(Drafting won|Streaming won|A draw): [\d.]+ s drafted, [\d.]+ s streamed", ended.out)
    assert "What the cloud paid" in ended.out
    assert not verifiers_of(pair[0])


def test_a_demo_that_is_interrupted_takes_its_verifier_with_it(pair: tuple[str, str]) -> None:
    process = start(
        [
            "demo",
            "--model",
            pair[0],
            "--drafter",
            f"model:{pair[1]}",
            "--dtype",
            "float32",
            "--max-new-tokens",
            "900",
            "--link",
            "satellite",
        ]
    )
    with killed_at_the_end(process):
        assert process.stdout is not None
        process.stdout.readline()  # the verifier is up: the demo says what it will do
        ended = end(process, signal.SIGINT)
    assert ended.code == 130 and "Traceback" not in ended.err
    assert not verifiers_of(pair[0])


def test_a_verifier_stops_by_itself_when_whoever_started_it_is_killed(pair: tuple[str, str]) -> None:
    process = start(["demo", "--model", pair[0], "--drafter", f"model:{pair[1]}", "--dtype", "float32", "--link", "satellite"])
    with killed_at_the_end(process):
        assert process.stdout is not None
        process.stdout.readline()
    until = time.monotonic() + DEADLINE_S
    while verifiers_of(pair[0]) and time.monotonic() < until:
        time.sleep(0.1)
    assert not verifiers_of(pair[0])


def test_a_demo_whose_verifier_cannot_start_says_why(pair: tuple[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in Path(pair[0]).iterdir():
        data = file.read_bytes()
        (broken / file.name).write_bytes(data[: len(data) // 2] if file.suffix == ".safetensors" else data)
    ended = run("demo", "--model", str(broken), "--drafter", f"model:{pair[1]}", "--dtype", "float32")
    assert ended.code == 3
    assert ended.err.splitlines()[-1].startswith("error: the verifier ended before it was ready:")
    assert "model.safetensors" in ended.err


def test_a_verifier_that_streams_drains_when_asked_to_stop(pair: tuple[str, str]) -> None:
    with serving(pair[0]) as (process, address):
        device = start(["generate", "hello", *drafting(pair, address, "--max-new-tokens", "300", "--raw", "--schedule", "stream")])
        with killed_at_the_end(device):
            until_first_output(device)
            stopped = end(process, signal.SIGTERM)
            _, err = device.communicate(timeout=DEADLINE_S)
    assert stopped.code == 0 and "Traceback" not in stopped.err
    assert device.returncode == 0, err
    assert "ended by length" in err


def test_two_verifiers_cannot_have_one_port(pair: tuple[str, str], cloud: str) -> None:
    ended = run("serve", "--model", pair[0], "--dtype", "float32", "--listen", cloud)
    assert ended.code == 2 and "Choose a free port" in ended.err and "Traceback" not in ended.err


def verifiers_of(target: str) -> list[str]:
    """Command lines of running verifiers of this model that a demo has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "--with-parent" in line and target in line and _state(folder) != "Z":
            found.append(line)
    return found


def _state(folder: Path) -> str:
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_the_module_runs_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.cli", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.startswith("airdraft "), done.stderr
