"""Drafts of one length, whatever the drafter thinks of its tokens and however the link is."""

from __future__ import annotations

from collections.abc import Sequence

from airdraft.messages import ChannelState
from edge.seams import DraftStep


class Fixed:
    """Goes on until `draft_length` tokens are there (0: empty drafts, one token of the target per round)."""

    def __init__(self, draft_length: int) -> None:
        self._draft_length = draft_length

    def go_on(self, steps: Sequence[DraftStep], channel: ChannelState) -> bool:
        """Whether the draft is still shorter."""
        return len(steps) < self._draft_length

    def learn(self, steps: Sequence[DraftStep], accepted: int) -> None:
        """Learns nothing: its length is fixed."""
