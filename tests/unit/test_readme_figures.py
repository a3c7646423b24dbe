"""The README says what the kept benchmarks say."""

import json

from benchmarks import readme
from benchmarks.__main__ import NAMES


def test_the_readme_has_the_figures_that_were_kept():
    text = readme.README.read_text()
    assert readme.BEGIN in text and text == readme.written(text, NAMES), "run: make benchmarks"


def test_a_missed_bar_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    for name, met in (("overhead", False), ("fleet", True)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"headline": f"{name} is 3", "met": met}))
    text = readme.written(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n", NAMES)
    assert text.startswith("before\n") and text.endswith(f"{readme.END}\nafter\n") and "old" not in text
    assert "overhead is 3 ([overhead](benchmarks/results/overhead.md)). **Its bar is missed.**" in text
    assert "fleet is 3 ([fleet](benchmarks/results/fleet.md)).\n" in text
