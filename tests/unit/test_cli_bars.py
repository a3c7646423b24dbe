import io

import pytest
from rich.console import Console

from orchestration.cli import bars
from orchestration.cli.bars import Bars, Lines, progress_line, size, watched


def test_sizes_are_in_decimal_units() -> None:
    assert [size(each) for each in (0, 999, 1500, 2_500_000, 1.12e9)] == ["0 B", "999 B", "1.50 kB", "2.50 MB", "1.12 GB"]


def test_a_progress_line_says_how_much_how_fast_and_how_long_still() -> None:
    assert progress_line("model", 250_000_000, 1_000_000_000, 10.0) == "model: 25 % of 1.00 GB, 25.00 MB/s, 30 s left"
    assert progress_line("model", 5_000_000, None, 2.0) == "model: 5.00 MB, 2.50 MB/s"
    assert "inf s left" in progress_line("model", 0, 10, 1.0)


def test_elsewhere_than_on_a_terminal_progress_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with watched(Console(file=out)) as progress:
        assert isinstance(progress, Lines)
        progress.started("[m] from the hub", 1000)
        for _ in range(4):
            now[0] += 4.0
            progress.advanced(100)
        progress.finished()
        progress.finished()
        progress.advanced(1)
    assert out.getvalue() == "[m] from the hub: 1.00 kB\n[m] from the hub: 30 % of 1.00 kB, 25 B/s, 28 s left\n"


def test_on_a_terminal_progress_is_a_bar_with_speed() -> None:
    out = io.StringIO()
    with watched(Console(file=out, force_terminal=True, width=100)) as progress:
        assert isinstance(progress, Bars)
        progress.started("of unknown size", None)
        progress._progress.refresh()
        assert "of unknown size" in out.getvalue() and "bytes" not in out.getvalue() and "?" not in out.getvalue().replace("\x1b[?", "")
        progress.started("the model", 1000)
        progress.advanced(500)
        progress._progress.refresh()
        progress.finished()
        progress.finished()
    assert "the model" in out.getvalue() and "0.5/1.0 kB" in out.getvalue()
