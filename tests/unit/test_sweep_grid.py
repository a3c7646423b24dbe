"""From a sweep's file to its cells."""

from collections import Counter

import pytest

from airdraft.errors import SettingsError
from orchestration.cell import Kind
from orchestration.sweep.grid import expand, single
from tests.made_up_recording import values, written


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return written(tmp_path_factory.mktemp("recording"))


def cells(path, grid, longest=16, **changes):
    return expand(values(path, grid=grid, **changes), "sweep.toml", lambda scenario: longest)


def test_every_combination_is_a_cell_and_every_environment_has_its_baselines(path):
    found = cells(path, {"link.round_trip_ms": [0, 50], "device.draft_length": [3, 5]}, sweep={"draft_lengths": [2, 4]})
    kinds = Counter(cell.kind for cell in found)
    assert kinds == {Kind.SEQUENTIAL: 2 * 4, Kind.STREAM: 2, Kind.DEVICE: 1, Kind.LOCAL: 2}
    assert len({cell.key for cell in found}) == len(found)
    assert len({cell.environment for cell in found if cell.kind is Kind.SEQUENTIAL}) == 2


def test_a_cell_of_the_grid_that_is_also_a_baseline_is_there_once_with_the_grids_axes(path):
    found = cells(path, {"device.draft_length": [2, 3]}, sweep={"baselines": ["sequential"], "draft_lengths": [2, 4]})
    assert [(cell.scenario.device.draft_length, dict(cell.axes)) for cell in found] == [
        (2, {"device.draft_length": 2}), (3, {"device.draft_length": 3}), (4, {})
    ]  # fmt: skip


def test_baselines_keep_to_what_can_be_drafted(path):
    found = cells(path, {}, longest=3, verifier={"max_draft": 8}, device={"draft_length": 1})
    assert {cell.scenario.fixed_draft_length for cell in found if cell.kind is Kind.SEQUENTIAL} == {1, 2, 3}


def test_a_whole_table_may_be_an_axis(path):
    links = [{"preset": "lte"}, {"preset": "bursty", "seed": 3}]
    found = cells(path, {"link": links}, sweep={"baselines": []})
    assert [cell.scenario.link.preset for cell in found] == ["lte", "bursty"]
    assert found[0].scenario.link.jitter_ms is None  # the base's link is replaced, not added to


def test_without_a_grid_there_is_one_cell_and_its_baselines(path):
    assert len(cells(path, {}, sweep={"baselines": []})) == 1
    assert single(values(path), "scenario.toml").kind is Kind.SEQUENTIAL
    with pytest.raises(SettingsError, match="airdraft sweep"):
        single(values(path, grid={"seed": [1]}), "scenario.toml")


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"link.rond_trip_ms": [1]}, "Did you mean 'round_trip_ms'"),
        ({"link.round_trip_ms": [1, -1]}, r"round_trip_ms = -1"),
        ({"device.draft_length": [4, 17]}, "draft_length = 17"),
        ({"link.preset": []}, "no values"),
        ({"name.x": [1]}, "not a table"),
        ({"seed": list(range(400)), "device.draft_length": list(range(300))}, "120000 combinations"),
    ],
)
def test_a_cell_that_is_impossible_is_refused_by_its_place_in_the_grid(path, grid, words):
    with pytest.raises(SettingsError, match=words):
        cells(path, grid)


def test_a_missing_file_is_refused(path):
    with pytest.raises(SettingsError, match=r"absent\.csv"):
        cells(path, {"link": [{"trace": "/absent.csv"}]})
