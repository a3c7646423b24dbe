"""The checks of a question that every rule makes before it judges."""

from __future__ import annotations

from airdraft.errors import InternalError, TokenOutOfRangeError
from cloud.seams import Question


def validate(question: Question) -> None:
    """Raises InternalError unless there is one row more than draft tokens, TokenOutOfRangeError for a token outside the vocabulary."""
    shape = question.rows.logits.shape
    if len(shape) != 2 or shape[0] != len(question.tokens) + 1:
        raise InternalError(f"logits of shape {shape} for a draft of {len(question.tokens)} tokens; a rule needs one row more than tokens.")
    for token in question.tokens:
        if not 0 <= token < shape[1]:
            raise TokenOutOfRangeError(f"draft token {token} is outside the vocabulary; expected an id from 0 to {shape[1] - 1}.")
