"""The cross-check's bar, on a real model over real sockets: virtual time tells what the clock on the wall does, within 15 %."""

import pytest

from orchestration.cli.crosscheck import load
from orchestration.cli.options import SettingsFlags
from orchestration.simulation.crosscheck import LINKS, crosscheck
from tests.worlds import require

MODEL = "smollm2-135m"
ATTEMPTS = 3  # a machine that gets busy in the middle of one compares unlike things; it is then compared once more


@pytest.mark.full
@pytest.mark.models
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("link", LINKS)
def test_simulated_and_real_agree(link: str) -> None:
    require(MODEL)
    parts = load(SettingsFlags(MODEL, threads=1), "lookup", draft_length=4, max_new_tokens=48)
    errors = []
    for _ in range(ATTEMPTS):
        comparison = crosscheck(parts, [link])[0]
        assert comparison.simulated.rounds == comparison.real.rounds and comparison.simulated.tokens == comparison.real.tokens
        errors.append(comparison.error)
        if comparison.agrees:
            return
    raise AssertionError(f"simulated beside real on {link}: off by {', '.join(f'{error:+.1%}' for error in errors)}")
