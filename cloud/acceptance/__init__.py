"""The acceptance rules by name: one file each beside this one, listed in one table. `airdraft.rules` tells the device of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airdraft import rules
from airdraft.messages import RuleChoice
from cloud.acceptance.exact import Exact
from cloud.acceptance.speculative_sampling import SpeculativeSampling
from cloud.seams import AcceptanceRule

RULES: dict[str, Callable[[Mapping[str, float]], AcceptanceRule]] = {
    Exact.name: lambda parameters: Exact(),
    SpeculativeSampling.name: lambda parameters: SpeculativeSampling(int(parameters["row_width"])),
}


def build(choice: RuleChoice) -> AcceptanceRule:
    """The rule that a contract names. Raises UnknownRuleError, in words, for an unknown rule, parameter or value."""
    parameters = rules.parameters(choice)
    return RULES[choice.name](parameters)


def names() -> tuple[str, ...]:
    """Of all rules, in the order of the table."""
    return tuple(RULES)
