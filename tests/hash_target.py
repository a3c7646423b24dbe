"""A target whose logits hash the whole prefix in the slot: one wrong, missing or misplaced token there changes every later token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from airdraft import PROTOCOL_VERSION, sampling
from airdraft.messages import Contract, Finish, RuleChoice
from airdraft.prefix import Prefix, extend
from airdraft.settings import Sampling
from cloud.seams import Block, Rows

VOCABULARY = 48
TOKENIZER_DIGEST = b"tokenizer-digest"
MODEL = "hash-model"


@lru_cache(maxsize=100_000)
def logits_after(digest: int) -> np.ndarray:
    row = np.random.default_rng(digest).standard_normal(VOCABULARY).astype(np.float32) * 2
    row.setflags(write=False)
    return row


class HashTarget:
    """Refuses a block whose slot does not hold what must come before it, and two blocks for one slot."""

    vocabulary_size = VOCABULARY

    def __init__(self, slots: int = 4, capacity: int = 512) -> None:
        self.slots = slots
        self.capacity = capacity
        self.held = [Prefix() for _ in range(slots)]
        self.calls: list[tuple[Block, ...]] = []
        self.poison: int | None = None  # a token that makes a forward fail

    @property
    def prefilled_rows(self) -> int:
        return sum(len(block.tokens) - block.wanted for blocks in self.calls for block in blocks)

    def forward(self, blocks: Sequence[Block]) -> list[Rows]:
        self.calls.append(tuple(blocks))
        assert blocks and len({block.slot for block in blocks}) == len(blocks)
        if any(self.poison in block.tokens for block in blocks):
            raise RuntimeError("poisoned")
        return [self._rows(block) for block in blocks]

    def _rows(self, block: Block) -> Rows:
        held = self.held[block.slot]
        assert block.tokens and 0 <= block.wanted <= len(block.tokens)
        assert block.position <= len(held), f"slot {block.slot} holds {len(held)} tokens, block at {block.position}"
        held.cut(block.position)
        held.append(block.tokens)
        assert len(held) <= self.capacity
        rows = [logits_after(held.digest(len(held) - block.wanted + 1 + index)) for index in range(block.wanted)]
        logits = np.stack(rows) if rows else np.empty((0, VOCABULARY), np.float32)
        return Rows(logits, np.zeros((block.wanted, 2), np.float32))


def contract(prompt: Sequence[int] = (1, 2, 3), **changes: object) -> Contract:
    values: dict[str, object] = {
        "protocol_version": PROTOCOL_VERSION,
        "model": MODEL,
        "tokenizer_digest": TOKENIZER_DIGEST,
        "vocabulary_size": VOCABULARY,
        "prompt": tuple(prompt),
        "sampling": Sampling(temperature=1.0, seed=7),
        "rule": RuleChoice(),
        "stop_tokens": (),
        "max_new_tokens": 40,
    }
    return Contract(**(values | changes))  # type: ignore[arg-type]  # the values are typed where they are read


def next_token(agreed: Contract, digest: int, position: int) -> int:
    return sampling.token(logits_after(digest), agreed.sampling, position)


def response(agreed: Contract, context_limit: int = 512) -> tuple[tuple[int, ...], Finish]:
    """The target's own response and how it ends: what every session must end with."""
    digest, tokens = Prefix(agreed.prompt).digest(), []
    while True:
        token = next_token(agreed, digest, len(agreed.prompt) + len(tokens))
        tokens.append(token)
        digest = extend(digest, token)
        if token in agreed.stop_tokens:
            return tuple(tokens), Finish.STOP_TOKEN
        if len(tokens) == agreed.max_new_tokens:
            return tuple(tokens), Finish.LENGTH
        if len(agreed.prompt) + len(tokens) == context_limit:
            return tuple(tokens), Finish.CAPACITY
