"""What both sides must know of each acceptance rule: what drafts must carry for it, whether it is lossless, which parameters it takes.

It does not know how a rule judges; that is the cloud's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from airdraft.errors import UnknownRuleError
from airdraft.messages import RuleChoice
from airdraft.settings import unknown


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number that a rule takes."""

    name: str
    default: float
    lowest: float
    highest: float
    whole: bool = False

    def check(self, rule: str, value: float) -> None:
        """Raises UnknownRuleError when `value` does not fit."""
        fits = math.isfinite(value) and self.lowest <= value <= self.highest and (not self.whole or value == int(value))
        if not fits:
            kind = "a whole number" if self.whole else "a number"
            raise UnknownRuleError(
                f"{self.name} = {value:g} of rule {rule!r}: expected {kind} between {self.lowest:g} and {self.highest:g}"
                f" (default {self.default:g})."
            )


@dataclass(frozen=True, slots=True)
class RuleTraits:
    """A rule as the device sees it."""

    needs_rows: bool  # each draft token must come with the row it was drawn from (airdraft.quantised_row)
    lossless: bool  # the response has the target's own distribution
    parameters: tuple[Parameter, ...] = ()


ROW_WIDTH = Parameter("row_width", default=16, lowest=1, highest=256, whole=True)

RULES: dict[str, RuleTraits] = {
    "exact": RuleTraits(needs_rows=False, lossless=True),
    "speculative_sampling": RuleTraits(needs_rows=True, lossless=True, parameters=(ROW_WIDTH,)),
}


def traits(name: str) -> RuleTraits:
    """Raises UnknownRuleError, with the nearest known name, for one that is not in the table."""
    if name not in RULES:
        raise UnknownRuleError(unknown("rule", name, list(RULES)))
    return RULES[name]


def parameters(choice: RuleChoice) -> dict[str, float]:
    """All parameters of the chosen rule, defaults filled in. Raises UnknownRuleError for a rule, key or value that does not fit."""
    known = {parameter.name: parameter for parameter in traits(choice.name).parameters}
    values = {name: parameter.default for name, parameter in known.items()}
    given = [name for name, _ in choice.parameters]
    for name, value in choice.parameters:
        if name not in known:
            raise UnknownRuleError(_unknown_parameter(choice.name, name, list(known)))
        if given.count(name) > 1:
            raise UnknownRuleError(f"{name} of rule {choice.name!r} is given {given.count(name)} times; give it once.")
        known[name].check(choice.name, value)
        values[name] = value
    return values


def _unknown_parameter(rule: str, name: str, known: list[str]) -> str:
    if not known:
        return f"unknown parameter {name!r}: rule {rule!r} takes none. Leave it out."
    return unknown(f"parameter of rule {rule!r}", name, known)


def row_width(choice: RuleChoice) -> int:
    """How many entries a row may have under the chosen rule; 0 when drafts carry no rows."""
    return int(parameters(choice)[ROW_WIDTH.name]) if traits(choice.name).needs_rows else 0
