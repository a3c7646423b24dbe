"""The device's seams: what drafts, what decides that a draft is long enough, and who works when."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from airdraft.messages import ChannelState, Contract, QuantisedRow
from edge.certainty import Certainty

if TYPE_CHECKING:
    from edge.line import Line


class Origin(StrEnum):
    """Where a token came from."""

    ACCEPTED = "accepted"  # drafted here, accepted by the verifier
    CORRECTED = "corrected"  # the target's token in place of a rejected draft token
    BONUS = "bonus"  # the target's token after a draft accepted whole
    STREAMED = "streamed"  # decoded by the verifier alone
    ALONE = "alone"  # drafted while the link was gone; not verified yet


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the response. Only `verified` tokens are final; an unverified one may be replaced when the link returns."""

    id: int
    position: int  # absolute, in prompt + response
    origin: Origin
    verified: bool = True


@dataclass(frozen=True, slots=True)
class DraftStep:
    """One drafted token. `logits` [V] float32 are the drafter's own, before warping; None for a drafter that has none (a lookup)."""

    token: int
    position: int
    logits: np.ndarray | None = None
    row: QuantisedRow | None = None  # the distribution it was drawn from, when the rule needs that
    certainty: Certainty | None = None  # measured beforehand by a drafter that may have no logits (a recording)


class Drafter(Protocol):
    """Proposes tokens one at a time on top of a context it keeps. Synchronous: the session runs it on the device's compute clock."""

    forward_calls: int  # model forwards so far (0 for a drafter without a model)

    def begin(self, contract: Contract, rows_wanted: bool) -> None:
        """Start a response: keep what the old context shares with the prompt, forget the rest."""
        ...

    @property
    def length(self) -> int:
        """Tokens of context, its own proposals included."""
        ...

    @property
    def pending(self) -> int:
        """Tokens that the next step's forward will have to feed (what it costs)."""
        ...

    def extend(self, tokens: Sequence[int]) -> None:
        """Append committed tokens to the context."""
        ...

    def step(self) -> DraftStep | None:
        """Propose the token at position `length` and append it; None when it has nothing to propose."""
        ...

    def roll_back(self, length: int) -> None:
        """Keep only the first `length` tokens of context."""
        ...


class StoppingRule(Protocol):
    """Decides, token by token, when a draft is long enough. The draft limit granted by the verifier holds beside it."""

    def go_on(self, steps: Sequence[DraftStep], channel: ChannelState) -> bool:
        """Whether to draft one more token after these (asked with none at the start of each draft)."""
        ...

    def learn(self, steps: Sequence[DraftStep], accepted: int) -> None:
        """What became of a draft."""
        ...


class Schedule(Protocol):
    """Who works when. Yields committed tokens as they come, until the response ends or it is asked to hand over."""

    def run(self, drafter: Drafter, stopping: StoppingRule, line: Line) -> AsyncGenerator[Token, None]:
        """Work until `line.over`, which it looks at between rounds."""
        ...
