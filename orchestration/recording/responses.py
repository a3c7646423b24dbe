"""The target's own responses to many prompts, decoded several at once: cheaper, and the same tokens, as its forward is batch-invariant."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from airdraft import sampling
from airdraft.messages import Finish
from airdraft.settings import Sampling
from cloud.seams import Block, Rows, Target
from edge.certainty import Certainty, measure
from orchestration.recording.entry import Predictions, gather
from orchestration.recording.feeding import prefill


@dataclass(frozen=True, slots=True)
class Terms:
    """What a response depends on beside its prompt."""

    sampling: Sampling
    stop_tokens: tuple[int, ...]
    max_new_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """The target's tokens after a prompt, and how the response ended."""

    prompt: tuple[int, ...]
    tokens: Predictions
    finish: Finish


@dataclass(slots=True, eq=False)
class _Running:
    number: int
    prompt: tuple[int, ...]
    last: int
    rows: list[tuple[int, Certainty]] = field(default_factory=list)

    def block(self, slot: int) -> Block:
        return Block(slot, len(self.prompt) + len(self.rows) - 1, (self.last,), 1)

    def take(self, rows: Rows, terms: Terms) -> Finish:
        """Add the next token; whether the response ends with it."""
        logits = rows.logits[0]
        self.last = sampling.token(logits, terms.sampling, len(self.prompt) + len(self.rows))
        self.rows.append((self.last, measure(logits, self.last)))
        if self.last in terms.stop_tokens:
            return Finish.STOP_TOKEN
        return Finish.LENGTH if len(self.rows) == terms.max_new_tokens else Finish.NO


def decode(target: Target, prompts: Iterable[tuple[int, ...]], terms: Terms) -> Iterator[tuple[int, Response]]:
    """(number of the prompt, its response), as they end; a slot that falls free takes the next prompt at once."""
    waiting = deque(enumerate(prompts))
    running: dict[int, _Running] = {}
    while waiting or running:
        for slot in range(target.slots):
            if waiting and slot not in running:
                number, prompt = waiting.popleft()
                prefill(target, slot, 0, prompt[:-1])
                running[slot] = _Running(number, prompt, prompt[-1])
        slots = list(running)
        for slot, rows in zip(slots, target.forward([running[slot].block(slot) for slot in slots]), strict=True):
            finish = running[slot].take(rows, terms)
            if finish:
                ended = running.pop(slot)
                yield ended.number, Response(ended.prompt, gather(ended.rows), finish)
