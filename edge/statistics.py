"""What one response cost and how well its drafts did. Counts as it is told; it measures nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from airdraft.journal import ResponseRecord, RoundRecord
from airdraft.messages import Contract, Draft, Finish, Timings, Verdict
from airdraft.transport import Traffic
from edge.seams import Origin, Token


@dataclass(slots=True)
class ResponseStatistics:
    """Counts and times of one response. Times are seconds on the device's clock; every ratio is 0 when there was nothing to divide by."""

    started_s: float = 0.0
    rounds: int = 0  # drafts that were judged
    stale: int = 0  # drafts that were answered as stale
    lost: int = 0  # drafts whose answer never came, because the line was cut
    drafted: int = 0  # tokens of judged drafts
    accepted: int = 0
    judged_at: list[int] = field(default_factory=list)  # [k]: how often draft position i was judged
    accepted_at: list[int] = field(default_factory=list)  # [k]: how often it was accepted
    from_verdicts: int = 0  # tokens that verdicts brought
    origins: Counter[Origin] = field(default_factory=Counter)  # committed tokens; ALONE counts those shown unverified
    traffic: Traffic = field(default_factory=Traffic)
    reconnects: int = 0
    target_s: float = 0.0  # this response's share of the verifier's forwards, prefill included
    queue_s: float = 0.0
    forward_s: float = 0.0
    draft_s: float = 0.0  # time the device spent drafting, prefill included
    draft_steps: int = 0  # tokens drafted
    bursts: list[tuple[float, int]] = field(default_factory=list)  # when committed tokens came, and how many at once
    records: list[RoundRecord] = field(default_factory=list)  # every answer that changed something, in order of arrival
    finish: Finish = Finish.NO

    def judged(self, draft: Draft, verdict: Verdict) -> None:
        """Count one verdict on a draft that was current."""
        count, accepted = len(draft.tokens), verdict.accepted
        self.rounds += 1
        self.drafted += count
        self.accepted += accepted
        self.from_verdicts += accepted + (verdict.token is not None)
        looked_at = accepted + (accepted < count and verdict.token is not None)
        while len(self.judged_at) < looked_at:
            self.judged_at.append(0)
            self.accepted_at.append(0)
        for index in range(looked_at):
            self.judged_at[index] += 1
            self.accepted_at[index] += index < accepted

    def arrived(self, tokens: Sequence[Token], now_s: float) -> None:
        """Count committed tokens that came together."""
        if tokens:
            self.bursts.append((now_s, len(tokens)))
            self.origins.update(token.origin for token in tokens)

    def spent(self, timings: Timings) -> None:
        """Add the verifier's own account of one answer."""
        self.target_s += timings.share_s
        self.queue_s += timings.queue_s
        self.forward_s += timings.forward_s

    def record(self, name: str, device: str, contract: Contract, tokens: Sequence[int]) -> ResponseRecord:
        """The response as a journal keeps it; `tokens` are its committed ones."""
        return ResponseRecord(
            name=name,
            device=device,
            prompt_length=len(contract.prompt),
            tokens=tuple(tokens),
            finish=self.finish,
            started_s=self.started_s,
            bursts=tuple(self.bursts),
            figures={
                "bytes_up": self.traffic.bytes_up,
                "bytes_down": self.traffic.bytes_down,
                "target_s": self.target_s,
                "draft_s": self.draft_s,
                "draft_steps": self.draft_steps,
                "reconnects": self.reconnects,
                "lost": self.lost,
            },
            rounds=tuple(self.records),
        )

    @property
    def tokens(self) -> int:
        """Committed tokens of the response."""
        return sum(count for _, count in self.bursts)

    @property
    def mean_accepted_length(self) -> float:
        """Draft tokens accepted per round. Papers differ: some give this, some `tokens_per_round`."""
        return _ratio(self.accepted, self.rounds)

    @property
    def tokens_per_round(self) -> float:
        """Tokens that a verdict brought on average: the accepted ones and the target's own."""
        return _ratio(self.from_verdicts, self.rounds)

    @property
    def acceptance_rate(self) -> float:
        """Share of the judged drafts' tokens that were accepted."""
        return _ratio(self.accepted, self.drafted)

    @property
    def acceptance_by_position(self) -> tuple[float, ...]:
        """[k]: share accepted of those judged, for each position in the draft."""
        return tuple(_ratio(accepted, judged) for accepted, judged in zip(self.accepted_at, self.judged_at, strict=True))

    @property
    def wasted(self) -> int:
        """Tokens that the device drafted and nobody accepted."""
        return max(self.draft_steps - self.origins[Origin.ACCEPTED], 0)

    @property
    def bytes_up_per_token(self) -> float:
        """Encoded messages, without framing."""
        return _ratio(self.traffic.bytes_up, self.tokens)

    @property
    def bytes_down_per_token(self) -> float:
        """Encoded messages, without framing."""
        return _ratio(self.traffic.bytes_down, self.tokens)

    @property
    def time_to_first_token_s(self) -> float:
        """From the start of the response to its first committed token, prefill on both sides included."""
        return self.bursts[0][0] - self.started_s if self.bursts else 0.0

    @property
    def time_per_output_token_s(self) -> float:
        """(last - first) / (tokens - 1)."""
        return _ratio(self.bursts[-1][0] - self.bursts[0][0], self.tokens - 1) if self.bursts else 0.0

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """Pauses between one visible burst of tokens and the next."""
        times = [time for time, _ in self.bursts]
        return tuple(later - earlier for earlier, later in pairwise(times))

    @property
    def target_s_per_token(self) -> float:
        """What the cloud pays: seconds of the target's forwards per committed token."""
        return _ratio(self.target_s, self.tokens)

    @property
    def draft_s_per_step(self) -> float:
        """Seconds per drafted token, prefill included."""
        return _ratio(self.draft_s, self.draft_steps)

    @property
    def duration_s(self) -> float:
        """From the start to the last committed token."""
        return self.bursts[-1][0] - self.started_s if self.bursts else 0.0


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
