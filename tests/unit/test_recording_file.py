"""The file: what is written is read back, and anything else is refused in words."""

import zlib
from dataclasses import replace

import msgpack
import pytest

from airdraft.errors import SettingsError
from airdraft.messages import RuleChoice
from orchestration.recording.recording import pack_entry, read_recording, write_recording
from tests.recorded_pair import recorded


@pytest.fixture
def path(tmp_path):
    write_recording(tmp_path / "folder" / "tests.msgpack.z", recorded())
    return tmp_path / "folder" / "tests.msgpack.z"


def test_what_is_read_is_what_was_written(path):
    read = read_recording(path)
    assert read.header == recorded().header
    assert read.packed() == recorded().packed() and read.digest == recorded().digest
    assert [entry.response for entry in read.entries] == [entry.response for entry in recorded().entries]
    assert [path.name for path in path.parent.iterdir()] == ["tests.msgpack.z"]


def test_digest_changes_with_any_token():
    entries = list(recorded().entries)
    entries[3] = replace(entries[3], prompt=(1, *entries[3].prompt[1:]))
    assert replace(recorded(), entries=tuple(entries)).digest != recorded().digest


def test_a_token_costs_few_bytes(path):
    tokens = sum(len(entry.response) for entry in recorded().entries)
    assert path.stat().st_size < 120 * tokens


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_file_cut_off_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SettingsError, match=r"tests\.msgpack\.z"):
        read_recording(path)


def test_one_flipped_byte_is_noticed(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SettingsError):
        read_recording(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda objects: objects[0].update(version=99), "version 99"),
        (lambda objects: objects[0].update(format="something else"), "not a recording"),
        (lambda objects: objects[1].pop("target"), "damaged"),
        (lambda objects: objects[1].update(continuation_lengths=b""), "continuations"),
        (lambda objects: objects[1].update(prompt=b""), "no prompt"),
        (lambda objects: objects[1].update(prompt=b"\xff\xff\xff\xff"), "token ids"),
        (lambda objects: objects[1].update(prompt=b"123"), "damaged"),
        (lambda objects: objects[1]["drafter"].update(entropy=b""), "columns"),
        (lambda objects: objects[1].update(finish="MAYBE"), "damaged"),
    ],
)
def test_parts_that_do_not_fit_are_refused(path, change, match):
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(zlib.decompress(path.read_bytes()))
    objects = list(unpacker)
    change(objects)
    path.write_bytes(zlib.compress(b"".join(map(msgpack.packb, objects))))
    with pytest.raises(SettingsError, match=match):
        read_recording(path)


def test_bytes_after_the_last_whole_object_are_refused(path):
    path.write_bytes(zlib.compress(recorded().packed() + pack_entry(recorded().entries[0])[:-3]))
    with pytest.raises(SettingsError, match="cut off"):
        read_recording(path)


def test_a_missing_file_and_one_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="Expected a recording"):
        read_recording(tmp_path / "none.msgpack.z")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="can be written"):
        write_recording(tmp_path / "file" / "tests.msgpack.z", recorded())


def test_a_contract_keeps_to_what_was_recorded():
    recording = recorded()
    agreed = recording.contract(recording.entries[0], 5)
    assert (agreed.prompt, agreed.max_new_tokens, agreed.model) == (recording.entries[0].prompt, 5, "tiny-target")
    for count in (0, 25):
        with pytest.raises(SettingsError, match="up to 24"):
            recording.contract(recording.entries[0], count)
    with pytest.raises(SettingsError, match="'exact'"):
        recording.contract(recording.entries[0], rule=RuleChoice("speculative_sampling"))
