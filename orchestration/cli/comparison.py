"""The same response streamed and drafted: which was faster, why, and what the cloud paid. Pure; every figure comes from the two."""

from __future__ import annotations

from collections.abc import Sequence

from edge.statistics import ResponseStatistics
from orchestration import cost_model
from orchestration.cli.summary import milliseconds
from orchestration.cost_model import Costs

EVEN_SHARE = 0.03  # a smaller difference is called a draw


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first index at which two responses differ; None when they are equal."""
    for index, (first, second) in enumerate(zip(one, other, strict=False)):
        if first != second:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def sentences(streamed: ResponseStatistics, drafted: ResponseStatistics, round_trip_s: float | None) -> list[str]:
    """Who won, why, what it cost the cloud, and where the balance lies. `round_trip_s`: what the device measured, None if it did not."""
    lines = [_winner(streamed, drafted)]
    if drafted.rounds and drafted.drafted:
        lines.append(_round(streamed, drafted))
    lines.append(_payment(streamed, drafted))
    balance = _balance(streamed, drafted, round_trip_s)
    return [*lines, balance] if balance else lines


def _winner(streamed: ResponseStatistics, drafted: ResponseStatistics) -> str:
    figures = f"{drafted.duration_s:.1f} s drafted, {streamed.duration_s:.1f} s streamed, for the same {drafted.tokens} tokens"
    if abs(drafted.duration_s - streamed.duration_s) <= EVEN_SHARE * streamed.duration_s:
        return f"A draw: {figures}."
    share = abs(1 - drafted.duration_s / streamed.duration_s)
    name, what = ("Drafting", "less") if drafted.duration_s < streamed.duration_s else ("Streaming", "more")
    return f"{name} won: {figures} ({share:.0%} {what} with drafting)."


def _round(streamed: ResponseStatistics, drafted: ResponseStatistics) -> str:
    round_s = drafted.duration_s / drafted.rounds
    draft_s, forward_s = drafted.draft_s / drafted.rounds, drafted.forward_s / drafted.rounds
    rest_s = max(round_s - draft_s - forward_s, 0.0)
    return (
        f"Why: a round took {milliseconds(round_s)} on average ({milliseconds(draft_s)} drafting, {milliseconds(forward_s)} verifying, "
        f"{milliseconds(rest_s)} for the link, the prompt and the rest) and brought {drafted.tokens_per_round:.1f} tokens. "
        f"Streaming, the cloud needs {milliseconds(streamed.time_per_output_token_s)} for each token, and the link is hidden behind that."
    )


def _payment(streamed: ResponseStatistics, drafted: ResponseStatistics) -> str:
    share = drafted.target_s_per_token / streamed.target_s_per_token - 1 if streamed.target_s_per_token else 0.0
    less = f"{-share:.0%} less" if share <= 0 else f"{share:.0%} more"
    return (
        f"What the cloud paid: {drafted.target_s_per_token:.3f} s of the target per token with drafting, "
        f"{streamed.target_s_per_token:.3f} s streaming: {less}."
    )


def _balance(streamed: ResponseStatistics, drafted: ResponseStatistics, round_trip_s: float | None) -> str | None:
    acceptance = cost_model.per_token_acceptance(tuple(drafted.accepted_at), tuple(drafted.judged_at))
    if acceptance is None or not drafted.draft_steps or not streamed.tokens:
        return None
    rows = drafted.drafted / drafted.rounds + 1
    one_row_s, several_s = streamed.forward_s / streamed.tokens, drafted.forward_s / drafted.rounds
    fixed_s, per_row_s = cost_model.fitted_forward(one_row_s, several_s, rows)
    costs = Costs(drafted.draft_s / drafted.draft_steps, round_trip_s or 0.0, fixed_s, per_row_s)
    limit_s = cost_model.break_even_round_trip_s(costs, acceptance)
    here = f" (this link: {milliseconds(round_trip_s)})" if round_trip_s is not None else ""
    figures = (
        f"with {acceptance:.0%} of the judged draft tokens right, a draft step of {milliseconds(costs.draft_step_s)} and a forward of "
    )
    figures += milliseconds(one_row_s)
    if limit_s <= 0:
        return f"By the cost model, {figures}, drafting would be slower at any round trip: the drafter is too slow beside this target."
    return f"By the cost model, {figures}, drafting is faster below a round trip of about {milliseconds(limit_s)}{here}."
