"""What the cost model says of a cell, beside what was measured; and how often its best draft length is the one that was found best."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration import cost_model, link
from orchestration.cell import Cell, Kind
from orchestration.cost_model import Costs
from orchestration.link.channel import Direction, LegState, LinkState
from orchestration.link.transit import timeout_s
from orchestration.material import Overlap
from orchestration.scenario import LONGEST_SEARCH, Scenario
from orchestration.simulation import Framing
from orchestration.simulation.profile import Cost, MachineProfile

DRAFT_BYTES, DRAFT_TOKEN_BYTES, VERDICT_BYTES = 24, 3, 48  # of encoded messages, near enough for a transfer time
TOLERANCE = 1  # tokens of draft length
BAR = 0.8

Row = Mapping[str, Any]


def predict(cell: Cell, machines: tuple[MachineProfile, MachineProfile], overlaps: Sequence[Overlap]) -> dict[str, Any]:
    """The predicted columns for a cell on (device, verifier) machines; null where the model does not speak of it.

    It knows constant links and idle verifiers only, and for each prompt an acceptance that is the same for every token.
    """
    costs = cell_costs(cell.scenario, machines)
    if costs is None:
        return {}
    row: dict[str, Any] = {"predicted_stream_tpot_s": cost_model.streaming_token_s(costs)}
    length = cell.scenario.fixed_draft_length
    if cell.kind is Kind.STREAM:
        row["predicted_tpot_s"] = row["predicted_stream_tpot_s"]
    elif cell.kind is Kind.DEVICE:
        row["predicted_tpot_s"] = costs.draft_step_s
    elif length is not None and overlaps and cell.kind is not Kind.POLICY:
        row["predicted_tokens_per_round"] = tokens_per_round(overlaps, length)
        row["predicted_round_s"] = cost_model.round_s(costs, length)
        row["predicted_tpot_s"] = drafting_token_s(costs, overlaps, length)
    if overlaps:
        lengths = range(1, LONGEST_SEARCH + 1)
        row["predicted_acceptance"] = sum(one.tokens * one.share for one in overlaps) / sum(one.tokens for one in overlaps)
        row["predicted_best_draft_length"] = min(lengths, key=lambda length: drafting_token_s(costs, overlaps, length))
        row["predicted_break_even_ms"] = 1e3 * max(_break_even_s(costs, overlaps, length) for length in lengths)
    return row


def tokens_per_round(overlaps: Sequence[Overlap], draft_length: int) -> float:
    """All tokens over all rounds: prompts with many misses take many of the rounds, so this is less than E[L] of the mean acceptance."""
    rounds = sum(one.tokens / cost_model.expected_tokens(one.share, draft_length) for one in overlaps)
    return sum(one.tokens for one in overlaps) / rounds


def drafting_token_s(costs: Costs, overlaps: Sequence[Overlap], draft_length: int) -> float:
    """Seconds per token of the sequential schedule over these prompts."""
    return cost_model.round_s(costs, draft_length) / tokens_per_round(overlaps, draft_length)


def _break_even_s(costs: Costs, overlaps: Sequence[Overlap], draft_length: int) -> float:
    """The round trip at which drafts of this length take as long as streaming."""
    round_s = cost_model.round_s(costs, draft_length) - costs.round_trip_s
    return tokens_per_round(overlaps, draft_length) * cost_model.streaming_token_s(costs) - round_s


def cell_costs(scenario: Scenario, machines: tuple[MachineProfile, MachineProfile]) -> Costs | None:
    """The cost model's terms for a scenario; None for a channel that changes, and for more than one device."""
    if scenario.devices > 1 or scenario.link.channel_name() != "constant":
        return None
    state = link.build(scenario.link).state(0.0)
    framing = scenario.connection.framing
    device, verifier = machines
    verify = verifier.cost("verify")
    return Costs(
        draft_step_s=device.cost("draft").seconds(1),
        round_trip_s=_round_trip_s(state, framing),
        verify_fixed_s=verify.fixed_s + verify.per_sequence_s + _padding_s(verify),
        verify_per_row_s=verify.per_token_s,
        transfer_per_token_s=8 * DRAFT_TOKEN_BYTES / state.up.rate_bps,
    )


def _padding_s(verify: Cost) -> float:
    """What rounding rows up to a multiple costs on average."""
    return verify.per_token_s * (verify.rows_multiple - 1) / 2


def _round_trip_s(state: LinkState, framing: Framing) -> float:
    """Both delays, the transfer of a draft's and a verdict's constant part, and what lost messages cost on average."""
    transfer_s = _transfer_s(state.leg(Direction.UP), DRAFT_BYTES, framing) + _transfer_s(state.leg(Direction.DOWN), VERDICT_BYTES, framing)
    lost_s = (state.up.loss + state.down.loss) * timeout_s(state)
    return state.round_trip_s + transfer_s + lost_s


def _transfer_s(leg: LegState, size_bytes: int, framing: Framing) -> float:
    return 8 * (size_bytes + framing.overhead(size_bytes)) / leg.rate_bps


@dataclass(frozen=True, slots=True)
class BestLength:
    """Of one environment: the best fixed draft length that was found, and the predicted one."""

    environment: str
    conditions: Mapping[str, Any]
    found: int
    predicted: int
    lost: float  # how much more time per token the predicted length takes than the best, as a share; NaN when it was not run

    @property
    def agrees(self) -> bool:
        """Whether the two are within one token of each other."""
        return abs(self.found - self.predicted) <= TOLERANCE


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the cost model chose draft lengths over a sweep."""

    lengths: tuple[BestLength, ...]

    @property
    def share(self) -> float:
        """Of the environments in which the two are within one token of each other; 1 when there are none."""
        return sum(one.agrees for one in self.lengths) / len(self.lengths) if self.lengths else 1.0

    @property
    def exceptions(self) -> tuple[BestLength, ...]:
        """Environments where they are not."""
        return tuple(one for one in self.lengths if not one.agrees)

    @property
    def holds(self) -> bool:
        """Whether the share is as high as it should be."""
        return self.share >= BAR


CONDITIONS = ("link", "round_trip_ms", "draft_step_s", "target_token_s", "task")


def best_lengths(rows: Iterable[Row]) -> Agreement:
    """Compare the best draft length found with the one predicted, in every environment where all lengths up to a longest one were run."""
    by_environment: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["kind"] == Kind.SEQUENTIAL and row.get("tpot_s") is not None and row.get("predicted_best_draft_length") is not None:
            by_environment[row["environment"]].append(row)
    return Agreement(tuple(_compare(group) for group in by_environment.values() if _is_complete(group)))


def _is_complete(rows: list[Row]) -> bool:
    """Whether the search left out no length: else "within one token" would say nothing."""
    return len(rows) > 1 and {row["draft_length"] for row in rows} == set(range(1, len(rows) + 1))


def _compare(rows: list[Row]) -> BestLength:
    best = best_of(rows)
    predicted = best["predicted_best_draft_length"]
    there = [row["tpot_s"] for row in rows if row["draft_length"] == predicted]
    lost = there[0] / best["tpot_s"] - 1 if there else math.nan
    conditions = {name: best.get(name) for name in CONDITIONS}
    return BestLength(best["environment"], conditions, best["draft_length"], predicted, lost)


def best_of(rows: Iterable[Row]) -> Row:
    """The row with the least time per output token; the shortest draft length of equals."""
    return min(rows, key=lambda row: (row["tpot_s"], row["draft_length"]))


def mark_best(rows: list[dict[str, Any]]) -> None:
    """Set `best_fixed` in every row: the best fixed draft length of its environment and kind."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        row["best_fixed"] = False
        if row["kind"] in (Kind.SEQUENTIAL, Kind.LOCAL) and row.get("tpot_s") is not None:
            groups[row["environment"], row["kind"]].append(row)
    for group in groups.values():
        best = best_of(group)
        for row in group:
            row["best_fixed"] = row is best
