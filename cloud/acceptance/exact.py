"""The exact rule: a draft token stands if it is the target's own token at its position. It reads nothing of the drafter but the tokens."""

from __future__ import annotations

from typing import ClassVar

from cloud.acceptance.question import validate
from cloud.seams import Judgement, Question


class Exact:
    """Token equality at every temperature. The response is the target's own, token for token, whatever the drafter proposes."""

    name: ClassVar[str] = "exact"
    needs_rows: ClassVar[bool] = False
    lossless: ClassVar[bool] = True

    def judge(self, question: Question) -> Judgement:
        """Accept up to the first token that differs; the target's token there, or after the draft, follows.

        Tokens after the first difference are never computed. Raises TokenOutOfRangeError or InternalError for a question that does not fit.
        """
        validate(question)
        for index, drafted in enumerate(question.tokens):
            token = self._token(question, index)
            if token != drafted:
                return Judgement(index, token)
        return Judgement(len(question.tokens), self._token(question, len(question.tokens)))

    def _token(self, question: Question, index: int) -> int:
        return question.rows.token(index, question.sampling, question.position + index)
