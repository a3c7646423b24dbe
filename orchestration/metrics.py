"""From the records of responses to the figures of a summary's row: ratios of sums, percentiles, and bootstrap intervals.

Whether the records come from a simulation, from real models or from a journal makes no difference here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airdraft.journal import ResponseRecord
from airdraft.messages import Outcome

RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # per cent
BOOTSTRAP_SEED = 20_260
PERCENTILES = (50, 95, 99)
MATRIX_LIMIT = 2_000_000  # entries of a matrix of resamples at once

Reals = NDArray[np.float64]


@dataclass(slots=True)
class Figures:
    """Sums over one response, or over several after `add`. Times in seconds."""

    responses: int = 1
    tokens: int = 0
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    from_verdicts: int = 0
    bytes_up: float = 0.0
    bytes_down: float = 0.0
    framed_up: float = 0.0
    framed_down: float = 0.0
    ttft_s: float = 0.0
    later_s: float = 0.0  # first to last token
    later_tokens: int = 0  # tokens after the first
    response_s: float = 0.0
    target_s: float = 0.0
    draft_s: float = 0.0
    draft_steps: float = 0.0
    kept_steps: int = 0  # drafted tokens that were accepted
    reconnects: float = 0.0
    answers: int = 0  # of the verifier, for which it computed
    queue_s: float = 0.0
    batches: int = 0  # sum of the sessions in their forwards


RATIOS = {
    "accepted_length": ("accepted", "rounds"),
    "tokens_per_round": ("from_verdicts", "rounds"),
    "acceptance_rate": ("accepted", "drafted"),
    "rounds_per_response": ("rounds", "responses"),
    "bytes_up_per_token": ("bytes_up", "tokens"),
    "bytes_down_per_token": ("bytes_down", "tokens"),
    "ttft_s": ("ttft_s", "responses"),
    "tpot_s": ("later_s", "later_tokens"),
    "response_s": ("response_s", "responses"),
    "target_s_per_token": ("target_s", "tokens"),
    "wasted_drafts_per_token": ("wasted", "tokens"),
}
PLAIN_RATIOS = {
    "wire_bytes_up_per_token": ("framed_up", "tokens"),
    "wire_bytes_down_per_token": ("framed_down", "tokens"),
    "draft_s_per_token": ("draft_s", "tokens"),
    "queue_s_per_round": ("queue_s", "answers"),
    "batch_mean": ("batches", "answers"),
}


@dataclass(slots=True)
class Tally:
    """What is counted over all responses together, beside the sums."""

    judged_at: list[int] = field(default_factory=list)
    accepted_at: list[int] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    queues_s: list[float] = field(default_factory=list)
    first_s: float = float("inf")
    last_s: float = 0.0

    def take(self, record: ResponseRecord) -> None:
        """Count one response."""
        for round_ in record.rounds:
            if round_.kind == "draft" and round_.outcome is Outcome.JUDGED:
                self._positions(len(round_.drafted), round_.accepted, len(round_.tokens) > round_.accepted)
            if round_.timings.batch and round_.kind != "open":
                self.queues_s.append(round_.timings.queue_s)
        self.gaps_s.extend(later[0] - earlier[0] for earlier, later in pairwise(record.bursts))
        self.first_s = min(self.first_s, record.started_s)
        self.last_s = max(self.last_s, record.bursts[-1][0] if record.bursts else record.started_s)

    def _positions(self, drafted: int, accepted: int, has_token: bool) -> None:
        looked_at = accepted + (accepted < drafted and has_token)
        while len(self.judged_at) < looked_at:
            self.judged_at.append(0)
            self.accepted_at.append(0)
        for index in range(looked_at):
            self.judged_at[index] += 1
            self.accepted_at[index] += index < accepted

    @property
    def duration_s(self) -> float:
        """First start to last token."""
        return max(self.last_s - self.first_s, 0.0)


def figures(record: ResponseRecord) -> Figures:
    """One response's sums."""
    judged = [one for one in record.rounds if one.kind == "draft" and one.outcome is Outcome.JUDGED]
    computed = [one.timings for one in record.rounds if one.kind != "open" and one.timings.batch]
    tokens = sum(count for _, count in record.bursts)
    first_s, last_s = (record.bursts[0][0], record.bursts[-1][0]) if record.bursts else (record.started_s, record.started_s)
    accepted = sum(one.accepted for one in judged)
    of = record.figures
    return Figures(
        tokens=tokens,
        rounds=len(judged),
        drafted=sum(len(one.drafted) for one in judged),
        accepted=accepted,
        from_verdicts=sum(len(one.tokens) for one in judged),
        bytes_up=of.get("bytes_up", 0.0),
        bytes_down=of.get("bytes_down", 0.0),
        framed_up=of.get("framed_bytes_up", 0.0),
        framed_down=of.get("framed_bytes_down", 0.0),
        ttft_s=first_s - record.started_s,
        later_s=last_s - first_s,
        later_tokens=max(tokens - 1, 0),
        response_s=last_s - record.started_s,
        target_s=of.get("target_s", 0.0),
        draft_s=of.get("draft_s", 0.0),
        draft_steps=of.get("draft_steps", 0.0),
        kept_steps=accepted,
        reconnects=of.get("reconnects", 0.0),
        answers=len(computed),
        queue_s=sum(timings.queue_s for timings in computed),
        batches=sum(timings.batch for timings in computed),
    )


def response_row(record: ResponseRecord) -> dict[str, Any]:
    """The columns of `orchestration.summary.RESPONSES` that a record tells."""
    one = figures(record)
    gaps_s = [later[0] - earlier[0] for earlier, later in pairwise(record.bursts)]
    return {
        "tokens": one.tokens,
        "finish": record.finish.name,
        "started_s": record.started_s,
        "ttft_s": one.ttft_s,
        "tpot_s": _ratio(one.later_s, one.later_tokens),
        "response_s": one.response_s,
        "longest_gap_s": max(gaps_s, default=None),
        "rounds": one.rounds,
        "drafted": one.drafted,
        "accepted": one.accepted,
        "draft_steps": int(one.draft_steps),
        "bytes_up": int(one.bytes_up),
        "bytes_down": int(one.bytes_down),
        "target_s": one.target_s,
        "draft_s": one.draft_s,
        "queue_s": one.queue_s,
    }


def summarise(records: Sequence[ResponseRecord]) -> dict[str, Any]:
    """The measured columns of `orchestration.summary` that records tell. Resampled are responses, or devices when there are several."""
    each = [figures(record) for record in records]
    if not each:
        return {"responses": 0, "tokens": 0}
    tally = Tally()
    for record in records:
        tally.take(record)
    devices = [record.device for record in records]
    columns = _columns(each)
    row: dict[str, Any] = {"responses": len(each), "tokens": int(columns["tokens"].sum())}
    row |= _intervals(_grouped(columns, devices) if len(set(devices)) > 1 else columns)
    row |= {name: _ratio(columns[top].sum(), columns[bottom].sum()) for name, (top, bottom) in PLAIN_RATIOS.items()}
    if not all("framed_bytes_up" in record.figures for record in records):  # over a real connection nobody has counted them
        row |= {"wire_bytes_up_per_token": None, "wire_bytes_down_per_token": None}
    row |= _percentiles("ttft", columns["ttft_s"])
    timed = columns["later_tokens"] > 0
    row |= _percentiles("tpot", columns["later_s"][timed] / columns["later_tokens"][timed])
    row |= _percentiles("gap", np.array(tally.gaps_s))
    row["queue_p95_s"] = float(np.percentile(tally.queues_s, 95)) if tally.queues_s else None
    row["acceptance_by_position"] = [_ratio(up, down) for up, down in zip(tally.accepted_at, tally.judged_at, strict=True)]
    row["judged_by_position"] = tally.judged_at
    row["reconnects"] = int(columns["reconnects"].sum())
    row["duration_s"] = tally.duration_s
    row["tokens_per_s"] = _ratio(row["tokens"], tally.duration_s)
    row["fairness"] = fairness(_speeds(columns, devices)) if len(set(devices)) > 1 else None
    return row


def _columns(each: Iterable[Figures]) -> dict[str, Reals]:
    listed = list(each)
    columns = {name: np.array([getattr(one, name) for one in listed], dtype=np.float64) for name in Figures.__slots__}
    columns["wasted"] = np.maximum(columns["draft_steps"] - columns["kept_steps"], 0.0)
    return columns


def _grouped(columns: Mapping[str, Reals], devices: Sequence[str]) -> dict[str, Reals]:
    """Sums by device."""
    _, places = np.unique(devices, return_inverse=True)
    return {name: np.bincount(places, weights=values).astype(np.float64) for name, values in columns.items()}


def _intervals(columns: Mapping[str, Reals]) -> dict[str, float | None]:
    """Each ratio of sums, and its bootstrap interval."""
    names = sorted({name for pair in RATIOS.values() for name in pair})
    sums = resampled_sums(np.stack([columns[name] for name in names], axis=1))
    place = {name: index for index, name in enumerate(names)}
    row: dict[str, float | None] = {}
    for name, (top, bottom) in RATIOS.items():
        row[name] = _ratio(columns[top].sum(), columns[bottom].sum())
        tops, bottoms = sums[:, place[top]], sums[:, place[bottom]]
        drawn = tops[bottoms > 0] / bottoms[bottoms > 0]
        low, high = np.percentile(drawn, INTERVAL) if drawn.size else (None, None)
        row[f"{name}_low"], row[f"{name}_high"] = _real(low), _real(high)
    return row


def resampled_sums(values: Reals) -> Reals:
    """Sums [r, m] over r resamples with replacement of the n rows of `values` [n, m]; the same draws for the same n."""
    count = len(values)
    if count * RESAMPLES <= MATRIX_LIMIT:
        sums: Reals = _draws(count) @ values
        return sums
    return np.concatenate([part @ values for part in _parts(count)])


@lru_cache(maxsize=8)
def _draws(count: int) -> Reals:
    """How often each of `count` rows is drawn in each resample [r, n]."""
    return np.concatenate(list(_parts(count)))


def _parts(count: int) -> Iterable[Reals]:
    generator = np.random.default_rng([BOOTSTRAP_SEED, count])
    step = max(min(RESAMPLES, MATRIX_LIMIT // count), 1)
    shares = np.full(count, 1 / count)
    for start in range(0, RESAMPLES, step):
        yield generator.multinomial(count, shares, size=min(step, RESAMPLES - start)).astype(np.float64)


def fairness(speeds: Reals) -> float | None:
    """Jain's index (Jain, Chiu, Hawe 1984): (Σx)² / (n Σx²); 1 when all are equal, 1/n when one has everything."""
    squares = float((speeds**2).sum())
    return float(speeds.sum()) ** 2 / (len(speeds) * squares) if squares > 0 else None


def _speeds(columns: Mapping[str, Reals], devices: Sequence[str]) -> Reals:
    """Tokens per second of each device while it was responding."""
    sums = _grouped({name: columns[name] for name in ("tokens", "response_s")}, devices)
    speeds: Reals = sums["tokens"] / np.maximum(sums["response_s"], 1e-12)
    return speeds


def _percentiles(name: str, values: Reals) -> dict[str, float | None]:
    if not values.size:
        return {f"{name}_p{percent}_s": None for percent in PERCENTILES}
    found = np.percentile(values, PERCENTILES)
    return {f"{name}_p{percent}_s": float(value) for percent, value in zip(PERCENTILES, found, strict=True)}


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def _real(value: Any) -> float | None:
    return None if value is None else float(value)
