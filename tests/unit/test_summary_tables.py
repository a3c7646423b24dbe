"""The tables of a run: every column described once, rows written and read back."""

import pyarrow.parquet as parquet
import pytest

from airdraft.errors import SettingsError
from orchestration.summary import RESPONSES, SUMMARY, read_rows, write_rows


@pytest.mark.parametrize("columns", [SUMMARY, RESPONSES])
def test_every_column_has_a_name_of_its_own_and_a_meaning(columns):
    names = [column.name for column in columns]
    assert len(set(names)) == len(names)
    assert all(len(column.meaning) > 5 for column in columns)


def test_rows_are_read_back_and_what_a_row_lacks_is_null(tmp_path):
    path = tmp_path / "deep" / "summary.parquet"
    write_rows(path, SUMMARY, [{"cell": "a", "tpot_s": 0.5, "judged_by_position": [3, 2]}, {"cell": "b", "best_fixed": True}])
    first, second = read_rows(path)
    assert (first["cell"], first["tpot_s"], first["judged_by_position"], first["best_fixed"]) == ("a", 0.5, [3, 2], None)
    assert (second["cell"], second["best_fixed"], second["tpot_s"]) == ("b", True, None)
    assert list(first) == [column.name for column in SUMMARY]
    assert parquet.read_schema(path).field("tpot_s").metadata[b"meaning"]
    assert [entry.name for entry in path.parent.iterdir()] == ["summary.parquet"]


def test_an_empty_table_keeps_its_columns(tmp_path):
    path = tmp_path / "summary.parquet"
    write_rows(path, SUMMARY, [])
    assert read_rows(path) == [] and len(parquet.read_schema(path)) == len(SUMMARY)


def test_a_column_that_nobody_described_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="speed"):
        write_rows(tmp_path / "summary.parquet", SUMMARY, [{"cell": "a", "speed": 3}])


def test_what_is_no_table_of_ours_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="absent"):
        read_rows(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(SettingsError, match="text"):
        read_rows(tmp_path / "text.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table({"cell": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(SettingsError, match="not a table"):
        read_rows(tmp_path / "other.parquet")
