import pytest

from orchestration import cost_model
from orchestration.cost_model import Costs

# Break-even round trips, all in ms: (target per token, draft per step) → acceptance .7, .8, .9. A forward over k + 1 rows costs 1 + 0.02 k.
BREAK_EVEN_MS = {
    (15, 5): (7, 14, 35), (15, 10): (0, 2, 6),
    (30, 5): (31, 56, 130), (30, 10): (14, 28, 70), (30, 20): (0, 3, 11),
    (60, 5): (86, 152, 351), (60, 10): (62, 111, 261), (60, 20): (29, 57, 140),
    (100, 5): (165, 289, 660), (100, 10): (134, 238, 551), (100, 20): (89, 163, 386),
    (200, 5): (368, 639, 1454), (200, 10): (330, 577, 1321), (200, 20): (268, 477, 1101),
}  # fmt: skip


def costs_ms(target: float, draft: float, round_trip: float = 0.0) -> Costs:
    return Costs(draft, round_trip, verify_fixed_s=0.98 * target, verify_per_row_s=0.02 * target)


@pytest.mark.parametrize(("machine", "expected"), BREAK_EVEN_MS.items())
def test_the_break_even_round_trips_are_those_of_the_design(machine: tuple[int, int], expected: tuple[int, ...]) -> None:
    found = [cost_model.break_even_round_trip_s(costs_ms(*machine), acceptance) for acceptance in (0.7, 0.8, 0.9)]
    assert [round(each) for each in found] == list(expected)


def test_a_drafter_slower_than_the_target_never_pays() -> None:
    assert all(cost_model.break_even_round_trip_s(costs_ms(15, 20), acceptance) < 0 for acceptance in (0.7, 0.8, 0.9))


@pytest.mark.parametrize(
    ("acceptance", "length", "expected"), [(0.0, 5, 1.0), (1.0, 5, 6.0), (0.5, 1, 1.5), (0.5, 3, 1.875), (0.8, 0, 1.0)]
)
def test_the_expected_tokens_of_a_round_are_the_closed_form(acceptance: float, length: int, expected: float) -> None:
    assert cost_model.expected_tokens(acceptance, length) == pytest.approx(expected)


def test_the_expected_tokens_are_the_sum_over_how_far_a_draft_is_right() -> None:
    acceptance, length = 0.73, 6
    by_cases = sum(acceptance**right * (1 - acceptance) * (right + 1) for right in range(length)) + acceptance**length * (length + 1)
    assert cost_model.expected_tokens(acceptance, length) == pytest.approx(by_cases)


def test_at_the_break_even_round_trip_drafting_costs_as_much_as_streaming() -> None:
    limit = cost_model.break_even_round_trip_s(costs_ms(60, 10), 0.8)
    at_limit = costs_ms(60, 10, limit)
    best = cost_model.best_draft_length(at_limit, 0.8)
    assert cost_model.drafting_token_s(at_limit, 0.8, best) == pytest.approx(cost_model.streaming_token_s(at_limit))


def test_the_best_draft_grows_with_the_round_trip_and_stays_in_its_bounds() -> None:
    lengths = [cost_model.best_draft_length(costs_ms(60, 10, round_trip), 0.8) for round_trip in (0, 50, 200, 1000)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]
    assert cost_model.best_draft_length(costs_ms(60, 10, 1e6), 0.99, longest=5) == 5
    assert cost_model.best_draft_length(costs_ms(60, 60), 0.0) == 1


def test_a_forward_is_fitted_through_its_two_points_and_never_gets_cheaper_with_rows() -> None:
    fixed, per_row = cost_model.fitted_forward(0.100, 0.120, 5)
    assert fixed + per_row == pytest.approx(0.100) and fixed + 5 * per_row == pytest.approx(0.120)
    assert cost_model.fitted_forward(0.100, 0.090, 5) == (0.100, 0.0)


def test_the_acceptance_counts_only_positions_that_were_judged() -> None:
    assert cost_model.per_token_acceptance((3, 1), (4, 3)) == pytest.approx(4 / 7)
    assert cost_model.per_token_acceptance((), ()) is None
