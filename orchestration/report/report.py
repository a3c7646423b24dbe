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
    """What was made of the run in `source`, and what could not be and why."""

    source: Path
    run: Run
    page: Path
    figures: Sequence[Picture | LeftOut]
    sentences: Sequence[str]

    @property
    def pictures(self) -> Sequence[Picture]:
        """Those that could be drawn; each is also a file beside the page."""
        return [one for one in self.figures if isinstance(one, Picture)]

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Those that the run has no data for, with the reason."""
        return [one for one in self.figures if isinstance(one, LeftOut)]


def build_report(source: Path, output: Path | None = None) -> Report:
    """Read the run in `source`; write page and pictures into `output`.

    Raises SettingsError when the run is missing or its parts do not belong together (nothing is written then), and when
    the output cannot be written.
    """
    run = read_run(source)
    folder = output or source / FOLDER
    made = Report(source, run, folder / PAGE_FILE, draw_all(run), words.summary(run))
    for picture in made.pictures:
        _write(folder / f"{picture.name}.png", picture.png)
    _write(made.page, page(run, made.sentences, made.figures, duels(run.rows)).encode())
    return made


def build_results(reports: Sequence[Report], file: Path) -> None:
    """Write the Markdown page of these runs as `file`, and the pictures it shows into a folder of the same name beside it.

    Raises SettingsError when two runs share a name, and when the page cannot be written.
    """
    names = [made.run.name for made in reports]
    if len(set(names)) < len(names):
        raise SettingsError(f"the runs are named {', '.join(names)}; a page of results tells runs apart by name: report the others apart.")
    folder = file.with_suffix("")
    shown: dict[str, list[ShownPicture]] = {name: [] for name in names}
    for made in reports:
        for picture in made.pictures:
            if picture.name in SHOWN:
                place = folder / f"{made.run.name}_{picture.name}.png"
                _write(place, picture.png)
                shown[made.run.name].append(ShownPicture(f"{folder.name}/{place.name}", picture.title, picture.caption))
    command = f"airdraft report {' '.join(str(made.source) for made in reports)} --results {file}"
    _write(file, results([made.run for made in reports], shown, command).encode())


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
