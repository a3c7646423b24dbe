"""From a run's directory to its report: all figures that it has data for, and a page; and one page of results of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airdraft.errors import SettingsError
from orchestration.report import fleets, lengths, links, predictions, timelines, volumes, win_links, win_map, words
from orchestration.report.duels import duels
from orchestration.report.figure import LeftOut, Picture
from orchestration.report.page import page
from orchestration.report.results import ShownPicture, results
from orchestration.report.run import Run, read_run

PAGE_FILE = "report.html"
FOLDER = "report"  # in the run's directory, unless another is named
SHOWN = {"who_wins_where", "who_wins_by_link", "accepted_length", "timeline_1", "fleet", "cost_model"}  # pictures beside the results page


@dataclass(frozen=True, slots=True)
class Report:
    """What was made, and what could not be and why."""

    page: Path
    pictures: Sequence[Path]
    left_out: Sequence[LeftOut]
    sentences: Sequence[str]


def build_report(path: Path, output: Path | None = None) -> Report:
    """Read the run in `path`; write page and pictures into `output`.

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
    left_out = [one for one in figures if isinstance(one, LeftOut)]
    return Report(folder / PAGE_FILE, [folder / f"{one.name}.png" for one in pictures], left_out, sentences)


def build_results(paths: Sequence[Path], file: Path) -> None:
    """Write the Markdown page of these runs as `file`, and the pictures it shows into a folder of the same name beside it.

    Raises SettingsError as `build_report` does.
    """
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise SettingsError(f"the runs are named {', '.join(names)}; a page of results tells runs apart by name: report the others apart.")
    folder = file.with_suffix("")
    pictures: dict[str, list[ShownPicture]] = {}
    for run in runs:
        for figure in draw_all(run):
            if isinstance(figure, Picture) and figure.name in SHOWN:
                place = folder / f"{run.name}_{figure.name}.png"
                _write(place, figure.png)
                pictures.setdefault(run.name, []).append(ShownPicture(f"{folder.name}/{place.name}", figure.title, figure.caption))
    command = f"airdraft report {' '.join(map(str, paths))} --results {file}"
    _write(file, results(runs, pictures, command).encode())


def draw_all(run: Run) -> list[Picture | LeftOut]:
    """Every figure in the order of the page. Raises SettingsError for a journal that is not the run's."""
    return [
        win_map.draw(run),
        win_links.draw(run),
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
