"""How often a recorded drafter is right, by task: known from the recording alone, since under the exact rule nothing else decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.recording.entry import Entry


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Of some entries under the sequential schedule with drafts of one length."""

    prompts: int
    tokens: int
    agreement: float  # share of positions where the drafter, on the target's text, proposes the target's token
    accepted_length: float  # draft tokens accepted per round
    tokens_per_round: float  # those and the target's own


def acceptance(entries: Sequence[Entry], draft_length: int) -> Acceptance:
    """Of all these entries together: ratios of sums, not means of ratios."""
    tokens = sum(len(entry.response) for entry in entries)
    missed = sum(len(entry.misses) for entry in entries)
    rounds, accepted = (sum(counts) for counts in zip(*(_rounds(entry, draft_length) for entry in entries), strict=True))
    return Acceptance(len(entries), tokens, 1 - missed / tokens, accepted / rounds, tokens / rounds)


def by_task(entries: Sequence[Entry], draft_length: int) -> dict[str, Acceptance]:
    """The same for each task, in order of first appearance."""
    tasks = dict.fromkeys(entry.task for entry in entries)
    return {task: acceptance([entry for entry in entries if entry.task == task], draft_length) for task in tasks}


def _rounds(entry: Entry, draft_length: int) -> tuple[int, int]:
    """Rounds and accepted tokens of one response. The last token is left to the target, as a device leaves it."""
    missed, length = set(entry.misses), len(entry.response)
    position = rounds = accepted = 0
    while position < length:
        right = 0
        while right < min(draft_length, length - position - _target_owes(entry)) and position + right not in missed:
            right += 1
        rounds, accepted, position = rounds + 1, accepted + right, position + right + 1
    return rounds, accepted


def _target_owes(entry: Entry) -> int:
    """1 when the last token is the target's for sure: a response that ends for its length; a stop token may be drafted."""
    return 0 if entry.finish.name == "STOP_TOKEN" else 1
