"""The doctor's measurements against a verifier in this process: they must see what was put there, and cost it little."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from airdraft import PROTOCOL_VERSION
from airdraft.clock import WallClock
from airdraft.in_process import Direction, InProcessTransport
from airdraft.messages import Contract
from cloud.settings import VerifierSettings
from cloud.verifier import Verifier
from edge.drafters.random_tokens import RandomTokens
from edge.settings import DeviceSettings
from orchestration.assembly import Device, Language
from orchestration.cli.probe import probe, rate
from orchestration.cli.rehearsal import rehearse
from tests.hash_target import MODEL, TOKENIZER_DIGEST, VOCABULARY, HashTarget


class Words:
    """Letters as tokens; no chat template."""

    chat_template = None

    def encode(self, text: str) -> list[int]:
        return [ord(letter) % VOCABULARY for letter in text]


@asynccontextmanager
async def verifier(context: int = 512, carry=None):
    clock = WallClock("target")
    target = HashTarget(capacity=context)
    serving = Verifier(target, MODEL, TOKENIZER_DIGEST, clock, VerifierSettings(context=context, batch_wait_s=0))
    transport = InProcessTransport(serving.converse, serving.describe, carry)
    try:
        yield serving, target, transport
    finally:
        await transport.close()
        await serving.close()
        clock.close()


def contract() -> Contract:
    return Contract(PROTOCOL_VERSION, MODEL, TOKENIZER_DIGEST, VOCABULARY, (1, 2, 3))


async def test_probing_the_link_costs_no_forward_and_leaves_no_unfinished_session() -> None:
    async with verifier() as (serving, target, transport):
        found = await probe(transport, contract(), 512)
        assert target.calls == []
        assert serving.describe().load.sessions == 0
    assert found.round_trip_s > 0


async def test_a_slow_link_shows_its_round_trip_and_both_rates() -> None:
    seconds_per_byte = {Direction.UP: 5e-5, Direction.DOWN: 1e-4}

    async def carry(direction: Direction, size: int) -> None:
        await asyncio.sleep(0.02 + size * seconds_per_byte[direction])

    async with verifier(context=2048, carry=carry) as (_, _, transport):
        found = await probe(transport, contract(), 2048)
    assert found.round_trip_s >= 0.04
    for found_rate, asked in ((found.uplink, 8 / 5e-5), (found.downlink, 8 / 1e-4)):
        assert found_rate.bps is not None and 0.3 * asked < found_rate.bps < 2 * asked


def test_a_rate_that_does_not_show_is_not_made_up() -> None:
    varied = [0.010, 0.012, 0.015, 0.011, 0.030]
    assert rate(varied, [0.020, 0.014, 0.021], 9000).bps is None, "one large message was as fast as a small one"
    quick = rate([0.010] * 5, [0.0105] * 3, 9000)
    assert quick.bps is None and "faster than can be told" in quick.why
    assert rate([0.010] * 5, [0.020] * 3, 9000).bps == pytest.approx(7.2e6)


async def test_a_rehearsal_measures_forwards_rounds_and_acceptance() -> None:
    async with verifier() as (serving, target, transport):
        settings = DeviceSettings.parse({"drafter": {"kind": "random"}, "draft_length": 3})
        language = Language(Path("x"), Words(), TOKENIZER_DIGEST, ())
        clock = WallClock("drafter")
        device = Device(settings, RandomTokens(), language, serving.describe(), transport, clock)
        found = await rehearse(device, prompts=("ab", "cd"), tokens=8)
        clock.close()
    assert found.draft_rows == 4
    assert None not in (found.draft_step_s, found.round_trip_s, found.one_row_s, found.several_rows_s, found.streamed_token_s)
    assert found.acceptance is not None and found.acceptance < 0.5
    assert any(len(block.tokens) == 4 and block.wanted == 4 for blocks in target.calls for block in blocks)


async def test_a_device_that_does_not_draft_has_no_drafting_figures() -> None:
    async with verifier() as (serving, _, transport):
        settings = DeviceSettings.parse({"drafter": {"kind": "lookup"}, "draft_length": 0})
        clock = WallClock("drafter")
        language = Language(Path("x"), Words(), TOKENIZER_DIGEST, ())
        found = await rehearse(Device(settings, RandomTokens(), language, serving.describe(), transport, clock), ("ab",), 5)
        clock.close()
    assert found.one_row_s is not None
    assert (found.draft_step_s, found.several_rows_s, found.acceptance, found.drafted_token_s) == (None, None, None, None)


@pytest.mark.parametrize("limit", [8, 64])
async def test_the_probe_fits_any_context(limit: int) -> None:
    async with verifier(context=limit) as (_, _, transport):
        assert (await probe(transport, replace(contract(), prompt=(5,)), limit)).round_trip_s > 0
