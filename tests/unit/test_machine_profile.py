"""Profiles of machines: what they cost, that they say where they come from, and how they are fitted."""

from pathlib import Path

import pytest

from airdraft.clock import Work
from airdraft.errors import SettingsError
from edge.drafters.prompt_lookup import PromptLookup
from orchestration.simulation.measure import Plan, Point, best_fit, fit, measure_drafter, measure_verifier
from orchestration.simulation.profile import Cost, MachineProfile, Residuals
from tests.hash_target import HashTarget, contract

PROFILES = Path(__file__).parents[2] / "deploy" / "profiles"
SHIPPED = sorted(PROFILES.glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_can_be_read_and_is_not_passed_off_as_measured(path: Path) -> None:
    profile = MachineProfile.read(path)
    assert profile.name == path.stem or profile.name
    assert profile.sources() and set(profile.sources().values()) <= {"cited", "assumed"}


def test_the_cited_figures_are_those_of_the_publication() -> None:
    server, edge = (MachineProfile.read(PROFILES / f"specedge-{side}.toml") for side in ("server", "edge"))
    assert server.seconds(Work("verify", 5)) == 0.0942 and edge.seconds(Work("draft", 1)) == 0.011
    assert "2505.17052" in server.cost("verify").text and server.cost("verify").source == edge.cost("draft").source == "cited"


def test_rows_are_paid_with_their_padding() -> None:
    cost = Cost(source="assumed", text="made up for tests", fixed_s=1.0, per_token_s=0.5, per_sequence_s=0.25, rows_multiple=8)
    assert [cost.seconds(tokens) for tokens in (1, 8, 9)] == [5.25, 5.25, 9.25] and cost.seconds(8, 3) == 5.75


def test_a_profile_survives_its_file(tmp_path: Path) -> None:
    cost = Cost(
        source="measured", text='said "so", in München\n', fixed_s=1e-7, residuals=Residuals(points=3, median_share=0.1, worst_share=0.2)
    )
    profile = MachineProfile(name="here", versions={"torch": "2", "odd key": "x"}, draft=cost, verify=cost)
    profile.write(tmp_path / "deep" / "here.toml")
    assert MachineProfile.read(tmp_path / "deep" / "here.toml") == profile


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "x", "draft": {"source": "guessed", "text": "out of thin air"}}, "source"),
        ({"name": "x", "draft": {"source": "measured", "text": "here, just now"}}, "residuals"),
        ({"name": "x", "draft": {"source": "cited"}}, "text"),
        ({"name": "x", "draft": {"source": "cited", "text": "some paper", "fixed": 3}}, "Did you mean 'fixed_s'"),
        ({"name": "x", "drafts": {}}, "Did you mean 'draft'"),
        ({"name": "x", "verify": {"source": "assumed", "text": "made up", "per_token_s": -1}}, "per_token_s"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        MachineProfile.parse(values, "profile")


def points(multiple: int = 1, noise: float = 0.0) -> list[Point]:
    grid = [(tokens, sequences) for tokens in (1, 3, 5, 9, 17) for sequences in (1, 2, 4)]
    return [
        Point(tokens * sequences, sequences, (0.04 + 0.001 * (-(-tokens * sequences // multiple) * multiple) + 0.005 * sequences) * wobble)
        for (tokens, sequences), wobble in zip(grid, [1 + noise, 1 - noise] * 8, strict=False)
    ]


def test_the_fit_finds_a_machine_that_is_linear() -> None:
    cost = fit(points(), "a machine made up for this test")
    assert (cost.fixed_s, cost.per_token_s, cost.per_sequence_s) == pytest.approx((0.04, 0.001, 0.005), rel=1e-3)
    assert cost.source == "measured" and cost.residuals == Residuals(points=15, median_share=0.0, worst_share=0.0)


def test_the_fit_finds_out_about_padding() -> None:
    assert best_fit(points(multiple=8), "a machine made up for this test").rows_multiple == 8
    assert best_fit(points(), "a machine made up for this test").rows_multiple == 1


def test_the_residuals_say_how_bad_a_fit_is() -> None:
    cost = fit(points(noise=0.1), "a machine made up for this test")
    assert cost.residuals is not None and 0.03 < cost.residuals.median_share < 0.15 <= 0.2 > cost.residuals.worst_share


def test_no_part_of_a_cost_is_ever_negative() -> None:
    falling = [Point(1, 1, 0.2), Point(10, 1, 0.1), Point(20, 1, 0.05)]
    cost = fit(falling, "a machine made up for this test")
    assert cost.fixed_s > 0 and cost.per_token_s == 0


PLAN = Plan(verify_tokens=(1, 3), sequences=(1, 2), prefill_tokens=(4, 8), draft_tokens=(1, 2, 8), context=20, repetitions=3)


def test_every_point_of_the_plan_is_measured_and_forwards_are_as_planned() -> None:
    target = HashTarget(slots=2, capacity=64)
    verify, prefill = measure_verifier(target, contract(), PLAN)
    assert [(point.tokens, point.sequences) for point in verify] == [(1, 1), (2, 2), (3, 1), (6, 2)]
    assert [(point.tokens, point.sequences) for point in prefill] == [(4, 1), (8, 1)]
    assert all(point.seconds > 0 for point in (*verify, *prefill))
    per_point = PLAN.repetitions + 1
    assert len(target.calls) == 2 + per_point * 6
    assert sum(len(call) == 2 and call[0].wanted == 3 for call in target.calls) == per_point


def test_sequences_beyond_the_targets_slots_are_left_out() -> None:
    verify, _ = measure_verifier(HashTarget(slots=1, capacity=64), contract(), PLAN)
    assert {point.sequences for point in verify} == {1}


def test_a_drafters_step_is_measured_by_what_it_must_feed() -> None:
    fed: list[int] = []

    class Noting(PromptLookup):
        pending_now = 0

        def extend(self, tokens: object) -> None:
            fed.append(len(tokens))  # type: ignore[arg-type]  # a sequence, as the seam has it
            super().extend(tokens)  # type: ignore[arg-type]  # the same

    found = measure_drafter(Noting(), contract(), PLAN)
    assert [point.tokens for point in found] == [1, 2, 8] and all(point.seconds > 0 for point in found)
    assert {0, 1, 7} <= set(fed)
