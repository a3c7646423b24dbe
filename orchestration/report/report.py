"""From a run's directory to its report: all figures that it has data for, a page, and the page of results if it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airdraft.errors import SettingsError
from orchestration.report import fleets, lengths, links, predictions, timelines, volumes, win_map, words
from orchestration.report.duels import duels
from orchestration.report.figure import LeftOut, Picture
from orchestration.report.page import page
from orchestration.report.results import results
from orchestration.report.run import Run, read_run

PAGE_FILE = "report.html"
FOLDER = "report"  # in the run's directory, unless another is named


@dataclass(frozen=True, slots=True)
class Report:
    """What was made, and what could not be and why."""

    page: Path
    pictures: Sequence[Path]
    left_out: Sequence[LeftOut]
    sentences: Sequence[str]


def build_report(path: Path, output: Path | None = None, results_file: Path | None = None) -> Report:
    """Read the run in `path`; write page and pictures into `output`, and the Markdown page where `results_file` says.

    Raises SettingsError when the run is missing or its parts do not belong together (nothing is written then), and when
    the output cannot be written.
    """
    run = read_run(path)
    folder = output or path / FOLDER
    figures = draw_all(run)
    sentences = words.summary(run)
    pictures = [one for one in figures if isinstance(one, Picture)]
    for picture in pictures:
        _write(folder / f"{picture.name}.png", picture.png)
    _write(folder / PAGE_FILE, page(run, sentences, figures, duels(run.rows)).encode())
    if results_file is not None:
        _write(results_file, results(run, f"airdraft report {path} --results {results_file}").encode())
    left_out = [one for one in figures if isinstance(one, LeftOut)]
    return Report(folder / PAGE_FILE, [folder / f"{one.name}.png" for one in pictures], left_out, sentences)


def draw_all(run: Run) -> list[Picture | LeftOut]:
    """Every figure in the order of the page. Raises SettingsError for a journal that is not the run's."""
    return [
        win_map.draw(run),
        links.draw(run),
        lengths.draw(run),
        volumes.draw(run),
        *timelines.draw(run),
        fleets.draw(run),
        predictions.draw(run),
    ]


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error}. Choose a place that can be written.") from error
