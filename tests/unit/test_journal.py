"""The journal: what goes in comes out, equal runs are equal bytes, and a file that is none is refused in words."""

from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airdraft.errors import SettingsError
from airdraft.journal import Header, Journal, ResponseRecord, RoundRecord, read_journal, write_journal
from airdraft.messages import ChannelState, Finish, Outcome, Timings

HEADER = Header(
    simulated=True,
    settings={"link": {"preset": "5g"}, "draft_length": 4, "rates": (1, 2.5)},
    seeds={"link": 2**63},
    digests={"target": "00ff"},
    sources={"verify": "cited"},
)
CHANNELS = st.none() | st.builds(ChannelState, st.none() | st.floats(-30, 60), st.none() | st.floats(0, 1e9))
TOKENS = st.lists(st.integers(0, 200_000), max_size=5).map(tuple)
ROUNDS = st.builds(
    RoundRecord,
    kind=st.sampled_from(["draft", "stream", "open"]),
    round=st.integers(0, 2**31),
    epoch=st.integers(1, 9),
    position=st.integers(0, 10_000),
    sent_s=st.none() | st.floats(0, 1e6),
    arrived_s=st.floats(0, 1e6),
    draft_s=st.floats(0, 10),
    drafted=TOKENS,
    accepted=st.integers(0, 16),
    tokens=TOKENS,
    outcome=st.sampled_from(Outcome),
    bytes_up=st.integers(0, 10_000),
    bytes_down=st.integers(0, 10_000),
    channel=CHANNELS,
    timings=st.builds(Timings, st.floats(0, 1), st.floats(0, 1)),
)
RESPONSES = st.builds(
    ResponseRecord,
    name=st.text(max_size=8),
    device=st.text(max_size=8),
    prompt_length=st.integers(1, 1000),
    tokens=TOKENS,
    finish=st.sampled_from(Finish),
    started_s=st.floats(0, 1e6),
    bursts=st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 9)), max_size=3).map(tuple),
    figures=st.dictionaries(st.text(max_size=8), st.floats(0, 1e6), max_size=3),
    rounds=st.lists(ROUNDS, max_size=4).map(tuple),
)
ONE = ResponseRecord("a", "d", 3, (1, 2), Finish.LENGTH, 0.5, ((1.0, 2),))


@given(responses=st.lists(RESPONSES, max_size=3))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, responses: list[ResponseRecord]) -> None:
    path = tmp_path_factory.mktemp("journals") / "run.journal"
    write_journal(path, HEADER, responses)
    assert read_journal(path) == Journal(HEADER, tuple(responses))


def test_the_order_in_which_settings_were_made_does_not_matter(tmp_path: Path) -> None:
    for name, settings in (("one", {"a": 1, "b": {"c": 2, "d": 3}}), ("other", {"b": {"d": 3, "c": 2}, "a": 1})):
        write_journal(tmp_path / name, Header(simulated=False, settings=settings), [ONE])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_the_file_says_whether_it_was_simulated_and_by_which_version(tmp_path: Path) -> None:
    write_journal(tmp_path / "run", Header(simulated=False), [])
    header = read_journal(tmp_path / "run").header
    assert header.simulated is False and header.versions["airdraft"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    class Full(Exception):
        pass

    def responses() -> list[ResponseRecord]:
        raise Full

    with pytest.raises(Full):
        write_journal(tmp_path / "run", HEADER, responses())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cut", [1, 20])
def test_a_journal_that_was_cut_off_says_so(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "run"
    row = RoundRecord("draft", 1, 1, 3, 0.0, 1.0, 0.1, (4,), 1, (4, 5), Outcome.JUDGED, 30, 20, None, Timings())
    write_journal(path, HEADER, [ResponseRecord("a", "d", 3, (1,), Finish.LENGTH, 0.0, (), rounds=(row, row))])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SettingsError, match=r"run: cut off within response 1"):
        read_journal(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut off within the header"),
        (b"not a journal", "not a journal"),
        (b"\xc1\xc1\xc1", "damaged"),
        (msgpack.packb({"format": "airdraft-journal", "version": 99}), "version 99"),
        (msgpack.packb({"format": "airdraft-journal", "version": 1}), "damaged"),
        (msgpack.packb([1, 2]), "not a journal"),
    ],
)
def test_what_is_no_journal_is_refused_in_words(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "run"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=words):
        read_journal(path)


def test_a_missing_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        read_journal(tmp_path / "nowhere")
