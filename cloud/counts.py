"""What a verifier has done since it started, as plain sums for whoever shows them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from airdraft.messages import Outcome, Streamed, Verdict


@dataclass(slots=True)
class VerifierCounts:
    """Written by the verifier's streams only."""

    opened: int = 0
    resumed: int = 0
    finished: int = 0
    rounds: int = 0  # drafts judged
    drafted: int = 0  # their tokens
    accepted: int = 0
    stale: int = 0
    replays: int = 0
    streamed: int = 0  # tokens decoded in stream mode
    emitted: int = 0  # tokens committed, in whatever way
    errors: Counter[str] = field(default_factory=Counter)  # streams ended with an error, by its code

    def judged(self, verdict: Verdict, drafted: int) -> None:
        """One draft of so many tokens has this verdict."""
        if verdict.outcome is Outcome.STALE:
            self.stale += 1
            return
        self.rounds += 1
        self.drafted += drafted
        self.accepted += verdict.accepted
        self.emitted += verdict.accepted + (verdict.token is not None)

    def decoded(self, message: Streamed) -> None:
        """Tokens committed in stream mode."""
        self.streamed += len(message.tokens)
        self.emitted += len(message.tokens)
