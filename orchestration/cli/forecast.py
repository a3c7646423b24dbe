"""Whether drafting will pay here: what was measured, put through the cost model, in words. Pure; what was not measured is said so."""

from __future__ import annotations

from orchestration import cost_model
from orchestration.cli.checks import Check, Status
from orchestration.cli.rehearsal import Findings
from orchestration.cli.summary import milliseconds
from orchestration.cost_model import Costs


def measured(found: Findings) -> list[Check]:
    """The figures, one line each."""
    return [
        _figure("draft step", found.draft_step_s, "median of a step", "nothing was drafted by a model"),
        _figure("forward, 1 row", found.one_row_s, "the verifier's own timing, median", "no token was streamed alone"),
        _figure(
            f"forward, {found.draft_rows} rows", found.several_rows_s, "the same, for a whole draft", "no draft of that length was judged"
        ),
        _figure("round trip in a round", found.round_trip_s, "without drafting, queue and forward", "no round was timed"),
        Check("acceptance", Status.UNKNOWN, "nothing was drafted")
        if found.acceptance is None
        else Check(
            "acceptance", Status.OK, f"{found.acceptance:.0%} of the draft tokens judged on a few short prompts; your text will differ"
        ),
    ]


def will_it_pay(found: Findings, draft_limit: int) -> Check:
    """The forecast, or why there is none."""
    inputs = (found.draft_step_s, found.round_trip_s, found.one_row_s, found.several_rows_s, found.acceptance)
    if any(value is None for value in inputs) or found.draft_rows < 2:
        return Check("drafting pays", Status.UNKNOWN, "not all of its inputs were measured, see above")
    draft_step_s, round_trip_s, one_row_s, several_rows_s, acceptance = (value or 0.0 for value in inputs)
    fixed_s, per_row_s = cost_model.fitted_forward(one_row_s, several_rows_s, found.draft_rows)
    costs = Costs(draft_step_s, round_trip_s, fixed_s, per_row_s)
    longest = max(min(draft_limit, cost_model.LONGEST_DRAFT), 1)
    length = cost_model.best_draft_length(costs, acceptance, longest)
    drafting_s, streaming_s = cost_model.drafting_token_s(costs, acceptance, length), cost_model.streaming_token_s(costs)
    limit_s = cost_model.break_even_round_trip_s(costs, acceptance, longest)
    figures = f"expected {milliseconds(drafting_s)} per token with drafts of {length}, {milliseconds(streaming_s)} streaming"
    figures += f" (measured: {milliseconds(found.drafted_token_s)} with drafts of {found.draft_rows - 1}, "
    figures += f"{milliseconds(found.streamed_token_s)} streaming)"
    balance = f"; break-even at a round trip of {milliseconds(limit_s)}" if limit_s > 0 else "; slower at any round trip"
    if drafting_s < streaming_s:
        return Check("drafting pays", Status.OK, f"yes: {figures}{balance}", f"--draft-length {length}")
    return Check(
        "drafting pays",
        Status.WARN,
        f"no: {figures}{balance}",
        "--schedule stream is faster here; drafting still spends less of the target per token",
    )


def _figure(name: str, seconds: float | None, how: str, why_not: str) -> Check:
    if seconds is None:
        return Check(name, Status.UNKNOWN, why_not)
    return Check(name, Status.OK, f"{milliseconds(seconds)} ({how})")
