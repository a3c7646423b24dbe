"""What drafting should cost beside streaming, from a few measured figures: closed forms, no measuring and no guessing.

A round drafts k tokens, crosses the link once each way and is verified in one forward; a draft token is accepted with probability a,
independently of the others (Leviathan, Kalman, Matias 2023, arXiv 2211.17192, equation 1). Text is stickier than that, so a prediction
is a guide, not a promise.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_DRAFT = 32


@dataclass(frozen=True, slots=True)
class Costs:
    """One device, one link, one verifier. All in seconds.

    A forward over n rows (the last committed token and n - 1 draft tokens) takes `verify_fixed_s + n * verify_per_row_s`.
    """

    draft_step_s: float
    round_trip_s: float  # both ways, with the verifier's queue and whatever else a round costs beside the two models
    verify_fixed_s: float
    verify_per_row_s: float = 0.0
    transfer_per_token_s: float = 0.0  # what one more token in a draft costs the link

    def verify_s(self, rows: int) -> float:
        """One forward over that many rows."""
        return self.verify_fixed_s + rows * self.verify_per_row_s


def expected_tokens(acceptance: float, draft_length: int) -> float:
    """Tokens that a round of `draft_length` brings on average, the target's own included: (1 − a^(k+1)) / (1 − a)."""
    if acceptance >= 1.0:
        return float(draft_length + 1)
    return float((1 - acceptance ** (draft_length + 1)) / (1 - acceptance))


def round_s(costs: Costs, draft_length: int) -> float:
    """One round: draft, cross the link, be verified."""
    device_s = draft_length * (costs.draft_step_s + costs.transfer_per_token_s)
    return device_s + costs.round_trip_s + costs.verify_s(draft_length + 1)


def drafting_token_s(costs: Costs, acceptance: float, draft_length: int) -> float:
    """Seconds per token of the sequential schedule."""
    return round_s(costs, draft_length) / expected_tokens(acceptance, draft_length)


def streaming_token_s(costs: Costs) -> float:
    """Seconds per token when the verifier decodes by itself: one row a forward, and the link hidden behind it."""
    return costs.verify_s(1)


def best_draft_length(costs: Costs, acceptance: float, longest: int = LONGEST_DRAFT) -> int:
    """The draft length from 1 to `longest` with the least time per token; the shortest of equals."""
    return min(range(1, longest + 1), key=lambda length: drafting_token_s(costs, acceptance, length))


def break_even_round_trip_s(costs: Costs, acceptance: float, longest: int = LONGEST_DRAFT) -> float:
    """The round trip below which drafting at its best length beats streaming. Not above 0: never. `costs.round_trip_s` is ignored."""
    return max(
        expected_tokens(acceptance, length) * streaming_token_s(costs)
        - costs.verify_s(length + 1)
        - length * (costs.draft_step_s + costs.transfer_per_token_s)
        for length in range(1, longest + 1)
    )


def per_token_acceptance(accepted_at: tuple[int, ...], judged_at: tuple[int, ...]) -> float | None:
    """The acceptance that the model speaks of: accepted of all draft tokens that were judged. None when none was."""
    judged = sum(judged_at)
    return sum(accepted_at) / judged if judged else None


def fitted_forward(one_row_s: float, several_rows_s: float, rows: float) -> tuple[float, float]:
    """Fixed and per-row seconds of a forward, from one over one row and one over `rows` > 1. More rows never count as cheaper."""
    per_row_s = max(several_rows_s - one_row_s, 0.0) / (rows - 1)
    return one_row_s - per_row_s, per_row_s
