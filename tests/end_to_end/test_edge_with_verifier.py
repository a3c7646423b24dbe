"""The real device and the real verifier over tiny models, in one process and virtual time: one text, whatever drafts, breaks or shares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import pytest
import torch

from airdraft import PROTOCOL_VERSION
from airdraft.in_process import Direction, InProcessTransport
from airdraft.messages import Contract, DeviceMessage, RuleChoice, VerifierMessage
from airdraft.settings import Sampling
from cloud.settings import VerifierSettings
from cloud.target import TransformersTarget
from cloud.verifier import Verifier
from edge import drafters
from edge.schedules import build
from edge.seams import Drafter, Origin, Token
from edge.session import Session
from edge.settings import DeviceSettings, DrafterSettings
from edge.stopping.fixed import Fixed
from tests.edge_world import virtually
from tests.tiny_models import VOCABULARY, tiny_llama
from tests.virtual_time import VirtualClock

PROMPT = tuple(range(5, 25))
DIGEST = b"tokenizer"
NEW_TOKENS = 40


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


@pytest.fixture(scope="module")
def weak_model():
    """As the target, with noise on its weights: it agrees often, not always."""
    weak = tiny_llama()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for weight in weak.parameters():
            weight.add_(torch.randn_like(weight) * 0.02)
    return weak


class Place:
    """A verifier that can be killed and started again, and a link to it."""

    def __init__(self) -> None:
        self.target = TransformersTarget(tiny_llama(), slots=8, capacity=512)  # a target takes its model over
        self.start()
        self.transport = InProcessTransport(self._converse, lambda: self.verifier.describe(), self._carry)

    def start(self) -> None:
        self.verifier = Verifier(self.target, "tiny", DIGEST, VirtualClock(), VerifierSettings())

    async def restart(self) -> None:
        self.transport.cut()
        await self.verifier.close()
        self.start()

    async def close(self) -> None:
        await self.transport.close()
        await self.verifier.close()

    def _converse(self, incoming: AsyncIterator[DeviceMessage]) -> AsyncGenerator[VerifierMessage, None]:
        return self.verifier.converse(incoming)

    async def _carry(self, direction: Direction, size: int) -> None:
        await asyncio.sleep(0.025)


def contract(temperature: float = 0.0, rule: RuleChoice | None = None, prompt: tuple[int, ...] = PROMPT) -> Contract:
    sampling = Sampling(temperature=temperature, top_k=40, seed=11)
    rule = rule or RuleChoice()
    return Contract(PROTOCOL_VERSION, "tiny", DIGEST, VOCABULARY, prompt, sampling, rule, max_new_tokens=NEW_TOKENS)


def session(place: Place, drafter: Drafter, draft_length: int = 4, schedule: str = "sequential") -> Session:
    settings = DeviceSettings.parse({"link": {"seed": 1}})
    return Session(drafter, Fixed(draft_length), build(schedule), place.transport, VirtualClock(0.005, 0), settings)


async def text(device: Session, agreed: Contract, place: Place | None = None, restart_at: tuple[int, ...] = ()) -> tuple[int, ...]:
    tokens: list[Token] = []
    async for token in device.generate(agreed):
        tokens.append(token)
        if place is not None and len(tokens) in restart_at:
            await place.restart()
    return tuple(token.id for token in tokens)


def greedy(model) -> tuple[int, ...]:
    return tuple(model.generate(torch.tensor([PROMPT]), max_new_tokens=NEW_TOKENS, do_sample=False)[0, len(PROMPT) :].tolist())


@pytest.mark.parametrize("kind", ["model", "lookup", "random"])
@pytest.mark.parametrize("draft_length", [1, 4, 8])
@pytest.mark.parametrize("restart_at", [(), (9, 23)])
def test_greedy_text_is_the_models_own_generate(model, weak_model, kind, draft_length, restart_at):
    async def main():
        place = Place()
        drafter = drafters.build(DrafterSettings(kind=kind), weak_model)
        found = await text(session(place, drafter, draft_length), contract(), place, restart_at)
        await place.close()
        return found

    assert virtually(main()) == greedy(model)


def test_sampled_text_is_one_per_seed_for_every_drafter_schedule_and_restart(model, weak_model):
    async def main():
        texts = set()
        for kind in ("model", "lookup", "random"):
            for schedule in ("sequential", "stream"):
                for restart_at in ((), (9, 23)):
                    place = Place()
                    device = session(place, drafters.build(DrafterSettings(kind=kind), weak_model), schedule=schedule)
                    texts.add(await text(device, contract(1.0), place, restart_at))
                    await place.close()
        return texts

    texts = virtually(main())
    assert len(texts) == 1 and texts != {greedy(model)}


def test_perfect_drafter_is_accepted_whole_every_round():
    async def main():
        place = Place()
        device = session(place, drafters.build(DrafterSettings(), tiny_llama()))
        await text(device, contract(0.8))
        await place.close()
        return device.statistics

    found = virtually(main())
    assert found.acceptance_rate == 1.0 and found.rounds == NEW_TOKENS / 5
    assert set(found.origins) == {Origin.ACCEPTED, Origin.BONUS}


def test_model_drafter_never_computes_a_token_twice(weak_model):
    async def main():
        place = Place()
        drafter = drafters.build(DrafterSettings(), weak_model)
        device = session(place, drafter)
        await text(device, contract(), place, (9,))
        await place.close()
        return drafter.forward_calls, device.statistics.draft_steps

    calls, steps = virtually(main())
    assert calls == steps


def test_eight_devices_at_once_get_what_each_gets_alone(weak_model):
    prompts = [PROMPT[index:] + PROMPT[:index] for index in range(8)]

    async def one(place: Place, index: int) -> tuple[int, ...]:
        kind = ("model", "lookup", "random", "model")[index % 4]
        device = session(place, drafters.build(DrafterSettings(kind=kind), weak_model), 1 + index, ("sequential", "stream")[index % 2])
        return await text(device, contract(0.9, prompt=prompts[index]))

    async def main():
        place = Place()
        alone = [await one(place, index) for index in range(8)]
        await place.restart()
        together = await asyncio.gather(*(one(place, index) for index in range(8)))
        await place.close()
        return alone, together

    alone, together = virtually(main())
    assert alone == together and len(set(alone)) == 8


def test_speculative_sampling_completes_over_restarts_with_rows_in_every_draft(weak_model):
    async def main():
        place = Place()
        rule = RuleChoice("speculative_sampling", (("row_width", 8),))
        device = session(place, drafters.build(DrafterSettings(), weak_model))
        found = await text(device, contract(1.0, rule), place, (9, 23))
        await place.close()
        return found, device.statistics

    found, statistics = virtually(main())
    assert len(found) == NEW_TOKENS and statistics.accepted > 0 and statistics.reconnects == 2


def test_switching_in_mid_response_leaves_the_text_alone(weak_model):
    async def main():
        place = Place()
        device = session(place, drafters.build(DrafterSettings(), weak_model))
        tokens = []
        async for token in device.generate(contract(1.0)):
            tokens.append(token)
            if len(tokens) in (8, 24):
                device.switch(build("stream" if len(tokens) == 8 else "sequential"))
        expected = await text(session(place, drafters.build(DrafterSettings(kind="random"))), contract(1.0))
        await place.close()
        return tokens, expected

    tokens, expected = virtually(main())
    assert tuple(token.id for token in tokens) == expected
    assert {Origin.STREAMED, Origin.ACCEPTED} <= {token.origin for token in tokens}


def test_conversation_continues_where_the_last_response_ended(weak_model):
    async def main():
        place = Place()
        drafter = drafters.build(DrafterSettings(), weak_model)
        device = session(place, drafter)
        first = await text(device, contract())
        longer = replace(contract(), prompt=(*PROMPT, *first, 1, 2, 3))
        again = await text(device, longer)
        fresh = await text(session(place, drafters.build(DrafterSettings(kind="random"))), longer)
        await place.close()
        return again, fresh

    again, fresh = virtually(main())
    assert again == fresh
