"""Speculative sampling (Leviathan et al. 2023, arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318): lossless in distribution.

It tests a token by the row it was drawn from, as the device sent it, and has no way to see whether the device really drew from that row.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from airdraft import noise, quantised_row, sampling
from airdraft.errors import MalformedMessageError
from airdraft.messages import QuantisedRow
from airdraft.noise import Purpose
from airdraft.sampling import Warped
from cloud.acceptance.question import validate
from cloud.seams import Judgement, Question


class SpeculativeSampling:
    """Accept x with probability min(1, p(x) / q(x)); in place of a rejected x draw from max(p - q, 0), normalised; after the last, from p.

    p is the target's warped distribution, q the row that came with x. All randomness is keyed by (seed, position, purpose), so judging
    the same question again gives the same judgement. At temperature 0 p is one token, and the rule is token equality.
    """

    name: ClassVar[str] = "speculative_sampling"
    needs_rows: ClassVar[bool] = True
    lossless: ClassVar[bool] = True

    def __init__(self, row_width: int) -> None:
        self._row_width = row_width

    def judge(self, question: Question) -> Judgement:
        """Raises MalformedMessageError or TokenOutOfRangeError for a draft that breaks the protocol, InternalError for unfit logits."""
        self._validate(question)
        for index, (drafted, draft_row) in enumerate(zip(question.tokens, question.draft_rows, strict=True)):
            target = sampling.warped(question.rows.logits[index], question.sampling)
            test = _uniform(question, index, Purpose.ACCEPT)
            if not self._accepts(test, target.probability(drafted), quantised_row.probability(draft_row, drafted)):
                return Judgement(index, self._replacement(target, draft_row, _uniform(question, index, Purpose.RESIDUAL)))
        return Judgement(len(question.tokens), self._bonus(question))

    def _validate(self, question: Question) -> None:
        validate(question)
        if len(question.draft_rows) != len(question.tokens):
            raise MalformedMessageError(
                f"a draft of {len(question.tokens)} tokens came with {len(question.draft_rows)} rows; expected one per token."
            )
        for drafted, draft_row in zip(question.tokens, question.draft_rows, strict=True):
            quantised_row.validate(draft_row, question.rows.logits.shape[1], self._row_width)
            quantised_row.validate_drawn(draft_row, drafted)

    def _accepts(self, uniform: float, target_probability: float, draft_probability: float) -> bool:
        """uniform < p / q without the division."""
        return uniform * draft_probability < target_probability

    def _replacement(self, target: Warped, draft_row: QuantisedRow, uniform: float) -> int:
        residual = self._residual(target, draft_row)
        if not residual.any():  # p and q differ by rounding only, and so do p and the residual's limit
            residual = target.probabilities
        return sampling.draw(target.tokens, residual, uniform)

    def _residual(self, target: Warped, draft_row: QuantisedRow) -> sampling.Reals:
        """max(p - q, 0) [n] over the target's surviving tokens, not normalised; where p is 0 it is 0 too."""
        residual = target.probabilities.copy()
        tokens = np.array(draft_row.tokens, dtype=np.int64)
        places = np.minimum(np.searchsorted(target.tokens, tokens), target.tokens.size - 1)
        shared = target.tokens[places] == tokens
        residual[places[shared]] -= np.array(draft_row.weights)[shared] / quantised_row.SCALE
        return np.maximum(residual, 0.0, out=residual)

    def _bonus(self, question: Question) -> int:
        index = len(question.tokens)
        target = sampling.warped(question.rows.logits[index], question.sampling)
        return sampling.draw(target.tokens, target.probabilities, _uniform(question, index, Purpose.BONUS))


def _uniform(question: Question, index: int, purpose: Purpose) -> float:
    return noise.uniform(noise.key(question.sampling.seed, question.position + index, purpose))
