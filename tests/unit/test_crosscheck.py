"""The cross-check compares like with like: the same responses, really over sockets and in virtual time."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from airdraft.errors import SettingsError
from airdraft.messages import Contract
from cloud.seams import Block, Rows
from edge.drafters.prompt_lookup import PromptLookup
from orchestration.simulation import run
from orchestration.simulation.crosscheck import Comparison, Outcome, Parts, crosscheck, outcome
from orchestration.simulation.verifier import Served
from tests.hash_target import MODEL, TOKENIZER_DIGEST, HashTarget, contract, response
from tests.simulated_worlds import SERVER, respond, sequential

AGREED = tuple(contract(prompt=(number, 2, 3) * 4, max_new_tokens=16) for number in (1, 5))


def parts(contracts: tuple[Contract, ...] = AGREED) -> Parts:
    return Parts(Served(HashTarget(slots=1, capacity=512), MODEL, TOKENIZER_DIGEST), PromptLookup(), contracts, draft_length=3)


def test_both_ways_do_the_same_rounds_and_say_the_same() -> None:
    said: list[str] = []
    found = crosscheck(parts(), ["loopback"], said.append)[0]
    assert found.simulated.rounds == found.real.rounds > 10
    assert found.simulated.tokens == found.real.tokens == sum(len(response(agreed)[0]) for agreed in AGREED)
    assert found.profile.sources() == {"draft": "measured", "verify": "measured", "prefill": "measured"}
    assert 0 < found.handling_s < found.real.token_s * 1000 and math.isfinite(found.error)
    assert [words.partition(":")[0] for words in said] == ["loopback", "loopback"]


def test_an_emulated_round_trip_shows_on_both_sides() -> None:
    found = crosscheck(parts(AGREED[:1]), ["5g"])[0]
    per_token = found.real.rounds / found.real.tokens
    assert found.simulated.token_s > 0.012 * per_token and found.real.token_s > 0.012 * per_token


def test_measuring_between_responses_does_no_harm_to_them() -> None:
    """Measuring overwrites the target's slots; the verifier must not take anything there for its own."""

    class Remembering(HashTarget):
        fed = 0

        def forward(self, blocks: Sequence[Block]) -> list[Rows]:
            self.fed += sum(block.position == 0 for block in blocks)
            return super().forward(blocks)

    target = Remembering(slots=1, capacity=512)
    same = (AGREED[0], AGREED[0])
    found = crosscheck(replace(parts(same), served=Served(target, MODEL, TOKENIZER_DIGEST)), ["loopback"])[0]
    assert found.real.tokens == 32 and target.fed >= 4 + 2  # every response fed its prompt anew, on both sides, beside the measurements


def test_agreement_is_judged_against_the_real_one() -> None:
    def comparison(simulated_s: float, real_s: float) -> Comparison:
        return Comparison("x", Outcome(simulated_s, 1, 1, 0.1), Outcome(real_s, 1, 1, 0.1), SERVER, 0.0)

    assert comparison(0.114, 0.100).agrees and comparison(0.086, 0.100).agrees
    assert not comparison(0.116, 0.100).agrees and not comparison(0.084, 0.100).agrees
    assert comparison(0.110, 0.100).error == pytest.approx(0.10)


def test_responses_are_taken_together_as_sums() -> None:
    records = [run(respond(contract(max_new_tokens=20), sequential(skill))) for skill in (2, 9)]
    spans = [record.bursts[-1][0] - record.bursts[0][0] for record in records]
    assert outcome(records).token_s == pytest.approx(sum(spans) / 38)


def test_a_link_that_is_no_preset_is_refused() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'lte'"):
        crosscheck(parts(), ["ltee"])
