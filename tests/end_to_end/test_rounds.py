"""What rounds cost and bring, with real forwards on both sides: every forward and every token is accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from airdraft.clock import WallClock
from airdraft.in_process import InProcessTransport
from airdraft.messages import Contract
from cloud.target import TransformersTarget
from cloud.verifier import Verifier
from edge import schedules
from edge.drafters.causal_model import CausalModel
from edge.drafters.random_tokens import RandomTokens
from edge.seams import Drafter, DraftStep, Origin
from edge.session import Session
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from tests.references import reference
from tests.tiny_models import VOCABULARY, tiny_llama
from tests.worlds import Served, World, drafter, respond

SERVED = Served()
PROMPT = (5, 17, 42, 8, 5, 17)


@dataclass
class House:
    """A verifier and its devices in one process, so that both sides' counts can be read."""

    target: TransformersTarget
    verifier: Verifier
    clock: WallClock

    def session(self, chosen: Drafter, draft_length: int, schedule: str = "sequential") -> Session:
        transport = InProcessTransport(self.verifier.converse, self.verifier.describe)
        return Session(chosen, Fixed(draft_length), schedules.build(schedule), transport, self.clock, DeviceSettings())


@asynccontextmanager
async def house(served: Served = SERVED) -> AsyncIterator[House]:
    cloud, devices = WallClock("target"), WallClock("devices")
    target = served.target()
    verifier = served.verifier(target, cloud)
    try:
        yield House(target, verifier, devices)
    finally:
        await verifier.close()
        cloud.close()
        devices.close()


class Adversary(RandomTokens):
    """Knows the response and proposes another token at each position."""

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self._text = contract.prompt + reference(SERVED, contract)

    def step(self) -> DraftStep | None:
        step = super().step()
        return DraftStep((self._text[step.position] + 1) % VOCABULARY, step.position) if step else None


class Prophet(Adversary):
    """Knows the response and proposes it."""

    def step(self) -> DraftStep | None:
        step = super().step()
        return DraftStep(self._text[step.position], step.position) if step else None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("length", [1, 4, 8])
async def test_a_drafter_that_is_the_target_brings_a_draft_and_a_token_per_round(length, temperature):
    rounds = 5
    contract = SERVED.contract(PROMPT, temperature, 7, rounds * (length + 1))
    async with house() as world:
        session = world.session(CausalModel(tiny_llama()), length)
        assert await respond(session, contract) == reference(SERVED, contract)
    statistics = session.statistics
    assert (statistics.rounds, statistics.acceptance_rate, statistics.tokens_per_round) == (rounds, 1.0, length + 1)
    assert statistics.origins == {Origin.ACCEPTED: rounds * length, Origin.BONUS: rounds}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("length", [1, 4, 8])
async def test_a_drafter_that_is_always_wrong_costs_nothing_but_rounds(length, temperature):
    contract = SERVED.contract(PROMPT, temperature, 7, 12)
    async with house() as world:
        session = world.session(Adversary(contract), length)
        assert await respond(session, contract) == reference(SERVED, contract)
    assert (session.statistics.rounds, session.statistics.accepted) == (12, 0)
    assert set(session.statistics.origins) == {
        Origin.CORRECTED,
        Origin.BONUS,
    }  # the last draft is empty: only the target's token is missing
    assert session.statistics.origins[Origin.BONUS] == 1


async def test_random_tokens_are_accepted_as_often_as_chance_has_it():
    served = Served(slots=12)
    contracts = [served.contract(PROMPT, 1.0, seed, 120) for seed in range(12)]
    async with house(served) as world:
        sessions = [world.session(RandomTokens(seed), 1) for seed in range(12)]
        found = await asyncio.gather(*(respond(session, contract) for session, contract in zip(sessions, contracts, strict=True)))
    assert found == [reference(SERVED, contract) for contract in contracts]
    accepted, judged = (sum(getattr(session.statistics, count) for session in sessions) for count in ("accepted", "drafted"))
    deviation = (judged / VOCABULARY * (1 - 1 / VOCABULARY)) ** 0.5
    assert judged > 1000
    assert abs(accepted - judged / VOCABULARY) < 3 * deviation, f"{accepted} of {judged}"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["model", "random"])
async def test_each_round_is_one_forward_of_the_target(kind, temperature):
    contract = SERVED.contract(PROMPT, temperature, 7, 40)
    async with house() as world:
        session = world.session(drafter(kind), 4)
        await respond(session, contract)
        prefill = 1
        assert world.target.forwards == prefill + session.statistics.rounds


async def test_each_streamed_token_is_one_forward_of_the_target():
    contract = SERVED.contract(PROMPT, 1.0, 7, 40)
    async with house() as world:
        session = world.session(RandomTokens(), 0, "stream")
        assert await respond(session, contract) == reference(SERVED, contract)
        assert world.target.forwards == 40  # the prompt goes with the first one


@pytest.mark.parametrize("length", [1, 4, 8])
async def test_the_drafter_never_computes_a_position_again_after_a_verdict(length):
    """After the prompt every step feeds one token, or two behind a draft accepted whole, whose last token was never fed."""
    contract = SERVED.contract(PROMPT, 1.0, 7, 60)
    model = drafter("model")._model
    fed: list[int] = []
    hook = model.register_forward_pre_hook(lambda module, arguments, keywords: fed.append(keywords["input_ids"].shape[1]), with_kwargs=True)
    chosen = CausalModel(model)
    try:
        async with house() as world:
            session = world.session(chosen, length)
            assert await respond(session, contract) == reference(SERVED, contract)
    finally:
        hook.remove()
    statistics = session.statistics
    assert chosen.forward_calls == statistics.draft_steps == statistics.drafted == len(fed)
    assert fed[0] == len(PROMPT) and set(fed[1:]) <= {1, 2}
    assert 0 < statistics.accepted < statistics.drafted
    assert fed[1:].count(2) <= statistics.origins[Origin.BONUS]


@pytest.mark.parametrize("place", [0, 3, 4, 5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_a_stop_token_ends_the_response_wherever_in_a_draft_it_stands(place, temperature):
    whole = reference(SERVED, SERVED.contract(PROMPT, temperature, 7, 30))
    contract = SERVED.contract(PROMPT, temperature, 7, 30, stop_tokens=(whole[place],))
    expected = whole[: whole.index(whole[place]) + 1]
    assert reference(SERVED, contract) == expected

    async with house() as world:
        for chosen in (Prophet(contract), drafter("model"), RandomTokens()):
            assert await respond(world.session(chosen, 4), contract) == expected


async def test_a_draft_that_runs_past_a_stop_token_or_the_length_is_cut_there():
    class Hasty(Prophet):
        """Proposes on where the response has ended."""

        def step(self) -> DraftStep | None:
            self._text = self._text + (1,) * 9
            return super().step()

    contract = SERVED.contract(PROMPT, 0.0, 7, 30)
    whole = reference(SERVED, contract)
    stopping = SERVED.contract(PROMPT, 0.0, 7, 30, stop_tokens=(whole[2],))
    async with house() as world:
        session = world.session(Hasty(contract), 8)
        assert await respond(session, contract) == whole
        session = world.session(Hasty(stopping), 8)
        assert await respond(session, stopping) == whole[: whole.index(whole[2]) + 1]


async def test_two_responses_at_once_from_one_device():
    """One connection, one clock, one drafting model; two sessions with caches of their own."""
    first, second = SERVED.contract(PROMPT, 1.0, 1, 40), SERVED.contract(PROMPT[:3], 1.0, 2, 40)
    async with World(SERVED, "5g") as world:
        transport = world.transport()
        sessions = [world.session(drafter("model"), 4, transport=transport) for _ in range(2)]
        found = await asyncio.gather(respond(sessions[0], first), respond(sessions[1], second))
        assert found == [reference(SERVED, first), reference(SERVED, second)]


async def test_a_conversation_feeds_only_what_is_new():
    contract = SERVED.contract(PROMPT, 1.0, 1, 20)
    async with house() as world:
        chosen = drafter("model")
        session = world.session(chosen, 4)
        text = await respond(session, contract)
        longer = SERVED.contract((*PROMPT, *text, 9, 9), 1.0, 2, 20)
        chosen.begin(longer, rows_wanted=False)
        assert chosen.pending <= 4, "the drafter forgot the conversation"
        assert await respond(session, longer) == reference(SERVED, longer)
