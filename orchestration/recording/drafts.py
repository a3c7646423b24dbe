"""Everything that a drafter would draft along a response: one reading of the text, and a continuation of each miss, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from airdraft import sampling
from airdraft.errors import InternalError
from cloud.seams import Block, Rows
from cloud.target import TransformersTarget
from edge.certainty import Certainty, measure
from orchestration.recording.entry import Predictions, gather, join, misses
from orchestration.recording.feeding import prefill, read
from orchestration.recording.responses import Response, Terms


@dataclass(frozen=True, slots=True, eq=False)
class Drafts:
    """See `orchestration.recording.entry.Entry`, which holds the same."""

    rows: Predictions
    continuations: Predictions
    continuation_lengths: tuple[int, ...]


@dataclass(slots=True, eq=False)
class _Continuation:
    """What follows one miss."""

    last: int  # the newest token: at first the drafter's own wrong one
    position: int  # where that stands
    rows: list[tuple[int, Certainty]] = field(default_factory=list)

    def block(self, slot: int) -> Block:
        return Block(slot, self.position, (self.last,), 1)


class DraftRecorder:
    """Drafts with a small model wrapped as a target: slot 0 reads the text, the others continue misses.

    `vocabulary_size` is the pair's: what the drafter has beyond it is never proposed. `draft_length`: most tokens of a draft.
    """

    def __init__(self, model: TransformersTarget, vocabulary_size: int, draft_length: int) -> None:
        if model.slots < 2:
            raise InternalError(f"a recorder of drafts with {model.slots} slots; expected at least 2: one reads, the others continue.")
        self._model = model
        self._vocabulary_size = vocabulary_size
        self._draft_length = draft_length

    def along(self, response: Response, terms: Terms) -> Drafts:
        """The drafts from every position of a response."""
        rows = self._teacher_forced(response, terms)
        missed = misses(response.tokens, rows)
        begun = [_Continuation(int(rows.tokens[row]), len(response.prompt) + row) for row in missed]
        open_ended = [each for each in begun if each.last not in terms.stop_tokens]
        for start in range(0, len(open_ended), self._model.slots - 1):
            self._continue(open_ended[start : start + self._model.slots - 1], terms)
        return Drafts(rows, join(gather(each.rows) for each in begun), tuple(len(each.rows) for each in begun))

    def _teacher_forced(self, response: Response, terms: Terms) -> Predictions:
        """Row i: what the drafter proposes after the prompt and i tokens of the response."""
        prompt = response.prompt
        prefill(self._model, 0, 0, prompt[:-1])
        fed = (prompt[-1], *response.tokens.tokens[:-1].tolist())
        found: list[tuple[int, Certainty]] = []
        for piece in read(self._model, 0, len(prompt) - 1, fed):
            found.extend(self._draw(piece, row, len(prompt) + len(found), terms) for row in range(len(piece.logits)))
        return gather(found)

    def _continue(self, batch: Sequence[_Continuation], terms: Terms) -> None:
        """Draft on after each of these misses, each in a slot that begins as a copy of the text up to it."""
        for slot, each in enumerate(batch, start=1):
            self._model.cache.copy(0, slot, each.position)
        going = dict(enumerate(batch, start=1))
        for _ in range(self._draft_length - 1):
            slots = list(going)
            if not slots:
                return
            for slot, rows in zip(slots, self._model.forward([going[slot].block(slot) for slot in slots]), strict=True):
                each = going[slot]
                each.position += 1
                each.rows.append(self._draw(rows, 0, each.position, terms))
                each.last = each.rows[-1][0]
                if each.last in terms.stop_tokens:
                    del going[slot]

    def _draw(self, rows: Rows, row: int, position: int, terms: Terms) -> tuple[int, Certainty]:
        logits = rows.logits[row, : self._vocabulary_size]
        token = sampling.token(logits, terms.sampling, position)
        return token, measure(logits, token)
