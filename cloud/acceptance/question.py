"""The checks of a question that every rule makes before it judges."""

from __future__ import annotations

from airdraft.errors import InternalError, TokenOutOfRangeError
from cloud.seams import Question


def validate(question: Question) -> None:
    """Raises InternalError unless there is one row more than draft tokens, TokenOutOfRangeError for a token outside the vocabulary."""
    rows, size = question.rows, question.rows.vocabulary_size
    if rows.count != len(question.tokens) + 1:
        raise InternalError(f"{rows.count} rows for a draft of {len(question.tokens)} tokens; a rule needs one row more than tokens.")
    for token in question.tokens:
        if not 0 <= token < size:
            raise TokenOutOfRangeError(f"draft token {token} is outside the vocabulary; expected an id from 0 to {size - 1}.")
