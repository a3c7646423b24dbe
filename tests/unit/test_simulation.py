"""Whole simulated runs: the same bytes every time, the target's own text, and times that can be worked out by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airdraft.journal import ResponseRecord, read_journal
from airdraft.messages import Contract
from cloud.target import TransformersTarget
from edge.drafters.causal_model import CausalModel
from edge.schedules.sequential import Sequential
from edge.schedules.stream import Stream
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from orchestration.link import Conditions, LinkSettings, build
from orchestration.link.channels.constant import ConstantChannel
from orchestration.link.reports import ReportSettings
from orchestration.simulation import Air, Cost, MachineProfile, Policy, Served, SimulatedDevice, SimulatedVerifier, run
from tests.hash_target import contract, response
from tests.simulated_worlds import LINKS, PHONE, SERVER, Forecaster, fleet, journal_of, respond, sequential, simulated_verifier
from tests.tiny_models import VOCABULARY, tiny_llama

ROOT = Path(__file__).parents[2]


def test_a_fleet_twice_is_byte_for_byte_the_same_journal(tmp_path: Path) -> None:
    first, second = run(fleet()), run(fleet())
    assert journal_of(tmp_path / "one", first) == journal_of(tmp_path / "two", second)
    assert [record.tokens for record in first] == [response(contract((n + 1, 2, 3), max_new_tokens=30))[0] for n in range(len(LINKS))]
    assert read_journal(tmp_path / "one").responses == tuple(first)
    assert first[1].figures["reconnects"] == 1 and first[1].figures["connections"] == 2


def test_another_process_with_other_hashes_writes_the_same_journal(tmp_path: Path) -> None:
    here = journal_of(tmp_path / "here", run(fleet()))
    imports = "import pathlib, sys; from orchestration.simulation import run; from tests.simulated_worlds import fleet, journal_of"
    code = f"{imports}; journal_of(pathlib.Path(sys.argv[1]), run(fleet()))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto'}"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, env=environment, cwd=ROOT, timeout=240)
    assert (tmp_path / "there").read_bytes() == here


async def tiny_run() -> list[ResponseRecord]:
    """Real (tiny) models on both sides, at temperature 1."""
    served = Served(TransformersTarget(tiny_llama(), slots=2, capacity=256), "tiny", b"digest")
    verifier = SimulatedVerifier(served, SERVER)
    records = []
    for number in range(2):
        policy = Policy(CausalModel(tiny_llama(seed=1)), Fixed(3), Sequential(), DeviceSettings())
        one = SimulatedDevice(f"d{number}", policy, PHONE, Air(build(LinkSettings(preset="lte")), number), verifier.entry)
        agreed = contract(
            prompt=(5, 6, 7 + number), model="tiny", tokenizer_digest=b"digest", vocabulary_size=VOCABULARY, max_new_tokens=16
        )
        records.append(await one.respond("p", agreed))
        await one.close()
    await verifier.close()
    return records


def test_tiny_models_twice_are_byte_for_byte_the_same_journal(tmp_path: Path) -> None:
    first, second = journal_of(tmp_path / "one", run(tiny_run())), journal_of(tmp_path / "two", run(tiny_run()))
    assert first == second


def test_another_seed_of_the_link_is_another_time_and_the_same_text() -> None:
    one, other = (run(respond(contract(), link=LinkSettings(preset="lte"), seed=seed)) for seed in (1, 2))
    assert one.tokens == other.tokens and one.bursts != other.bursts


FLAT = MachineProfile(
    name="flat",
    draft=Cost(source="assumed", text="made up for tests", fixed_s=0.010),
    verify=Cost(source="assumed", text="made up for tests", fixed_s=0.050),
    prefill=Cost(source="assumed", text="made up for tests", fixed_s=0.050),
)


def timed(policy: Policy, agreed: Contract, round_trip_s: float) -> ResponseRecord:
    async def main() -> ResponseRecord:
        target = simulated_verifier().verifier._target
        verifier = SimulatedVerifier(Served(target, "hash-model", b"tokenizer-digest"), FLAT)
        one = SimulatedDevice("d", policy, FLAT, Air(ConstantChannel(Conditions(round_trip_s=round_trip_s))), verifier.entry)
        record = await one.respond("p", agreed)
        await one.close()
        await verifier.close()
        return record

    return run(main())


def test_a_round_takes_its_drafting_its_round_trip_and_its_verification() -> None:
    record = timed(Policy(Forecaster(10), Fixed(4), Sequential()), contract(max_new_tokens=41), 0.1)
    gaps = [later - earlier for (earlier, _), (later, _) in zip(record.bursts, record.bursts[1:], strict=False)]
    assert len(gaps) >= 6 and gaps[:-1] == pytest.approx([4 * 0.010 + 0.1 + 0.050] * (len(gaps) - 1))
    assert all(count == 5 for _, count in record.bursts[:-1])


def test_the_first_token_takes_two_openings_a_round_trip_and_both_forwards() -> None:
    record = timed(Policy(Forecaster(10), Fixed(4), Sequential()), contract(max_new_tokens=41), 0.1)
    first_s = record.bursts[0][0] - record.started_s
    assert first_s == pytest.approx(0.2 + 0.1 + 0.050 + 0.050)  # the device drafts while the connection opens


def test_streaming_pays_the_link_once_and_then_a_forward_per_token() -> None:
    record = timed(Policy(Forecaster(10), Fixed(4), Stream()), contract(max_new_tokens=20), 0.3)
    gaps = [later - earlier for (earlier, _), (later, _) in zip(record.bursts, record.bursts[1:], strict=False)]
    assert gaps == pytest.approx([0.050] * 19)


def test_every_round_is_on_record_and_adds_up() -> None:
    record = run(respond(contract(max_new_tokens=40), link=LinkSettings(preset="lte")))
    drafts = [line for line in record.rounds if line.kind == "draft"]
    assert sum((line.tokens for line in record.rounds), ()) == record.tokens == response(contract(max_new_tokens=40))[0]
    assert record.rounds[0].kind == "open" and [line.round for line in drafts] == list(range(1, len(drafts) + 1))
    assert sum(line.bytes_up for line in record.rounds) == record.figures["bytes_up"]
    assert sum(line.bytes_down for line in record.rounds) == record.figures["bytes_down"]
    assert sum(line.draft_s for line in drafts) == pytest.approx(record.figures["draft_s"])
    assert all(line.sent_s is not None and line.sent_s < line.arrived_s and line.timings.forward_s > 0 for line in drafts)
    assert record.figures["framed_bytes_up"] > record.figures["bytes_up"]


def test_a_streamed_response_is_on_record_token_by_token() -> None:
    record = run(respond(contract(max_new_tokens=12), Policy(Forecaster(), Fixed(4), Stream())))
    assert [line.kind for line in record.rounds] == ["open", *["stream"] * 12]


def test_a_device_with_a_modem_tells_what_it_says() -> None:
    async def main() -> ResponseRecord:
        verifier = simulated_verifier()
        channel = build(LinkSettings(preset="lte", channel="snr", parameters={"mean_snr_db": 12}))
        exact = ReportSettings(snr_noise_db=0, round_trip_noise=0)
        one = SimulatedDevice("d", sequential(), PHONE, Air(channel, reports=exact), verifier.entry)
        record = await one.respond("p", contract())
        await one.close()
        await verifier.close()
        return record

    told = [line.channel for line in run(main()).rounds if line.kind == "draft"]
    assert all(channel is not None and channel.snr_db == pytest.approx(12.0, abs=0.1) and channel.uplink_bps for channel in told)
