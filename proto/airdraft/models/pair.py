"""Whether a drafter and a target can work together: they must mean the same by every token id."""

from __future__ import annotations

from pathlib import Path

from airdraft.errors import PairMismatchError
from airdraft.models.configuration import vocabulary_size
from airdraft.models.tokenizer import Vocabulary, vocabulary


def check_pair(drafter_folder: Path, target_folder: Path) -> int:
    """Raise PairMismatchError naming the first difference that keeps the two apart; return how many token ids both can use.

    The widths of the two models may differ (embeddings are padded to round numbers), as long as each has a logit for every token.
    """
    drafter, target = vocabulary(drafter_folder), vocabulary(target_folder)
    difference = first_difference(drafter, target)
    if difference is not None:
        raise PairMismatchError(
            f"{drafter_folder.name} cannot draft for {target_folder.name}: their tokenizers differ. "
            f"First difference: {difference}. Choose a drafter of the target's family."
        )
    for folder in (drafter_folder, target_folder):
        if vocabulary_size(folder) < target.usable:
            raise PairMismatchError(
                f"{folder.name} has {vocabulary_size(folder)} logits and its tokenizer {target.usable} tokens: "
                f"it cannot name them all. Choose a model whose vocab_size is at least {target.usable}."
            )
    return target.usable


def first_difference(drafter: Vocabulary, target: Vocabulary) -> str | None:
    """The first token, or else the first merge, in which two vocabularies differ, in words; None when they are equal."""
    if drafter.tokens != target.tokens:
        number = min(i for i in drafter.tokens.keys() | target.tokens.keys() if drafter.tokens.get(i) != target.tokens.get(i))
        ours, theirs = _shown(drafter.tokens.get(number)), _shown(target.tokens.get(number))
        return f"token {number}: {ours} in the drafter, {theirs} in the target"
    for number, (our_merge, their_merge) in enumerate(zip(drafter.merges, target.merges, strict=False)):
        if our_merge != their_merge:
            return f"merge {number}: {_shown(' '.join(our_merge))} in the drafter, {_shown(' '.join(their_merge))} in the target"
    if len(drafter.merges) != len(target.merges):
        return f"number of merges: {len(drafter.merges)} in the drafter, {len(target.merges)} in the target"
    return None


def _shown(text: str | None) -> str:
    return "nothing" if text is None else repr(text)
