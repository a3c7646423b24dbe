"""What is recorded is what the drafter would do, from every position; and a recording cut short goes on."""

from dataclasses import replace

import numpy as np
import pytest

from airdraft.errors import SettingsError
from airdraft.messages import Finish
from cloud.seams import Block
from edge.certainty import measure
from edge.drafters.causal_model import CausalModel
from orchestration.recording import recorder
from orchestration.recording.invariant_drafter import InvariantDrafter
from orchestration.recording.recording import read_recording
from tests.recorded_pair import GREEDY, PROMPTS, SEEDED, frequent_token, live_pair, pair, recorded, settings, sources
from tests.tiny_pair import VOCABULARY


def drafted(drafter, contract, prefix, count):
    """What it drafts after `prefix`, up to a stop token."""
    drafter.begin(replace(contract, prompt=prefix), False)
    steps = []
    while len(steps) < count and not (steps and steps[-1].token in contract.stop_tokens):
        steps.append(drafter.step())
    return steps


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize("stops", [False, True], ids=["no stop token", "a frequent stop token"])
def test_recorded_drafts_are_what_the_drafter_drafts_from_each_position(sampling, stops):
    recording = recorded(sampling, (frequent_token(),) if stops else ())
    drafter = InvariantDrafter(live_pair().drafter)
    for entry in recording.entries[:2]:
        contract = recording.contract(entry)
        for position in range(len(entry.prompt), len(entry.text)):
            kept = entry.draft_from(position, 16)
            steps = drafted(drafter, contract, entry.text[:position], 16)
            if len(kept) < len(steps):  # only a draft that follows the response to its end is shorter
                assert kept.tokens.tolist() == list(entry.text[position:])
            assert kept.tokens.tolist() == [step.token for step in steps[: len(kept)]]
            assert [kept.certainty(row) for row in range(len(kept))] == [measure(step.logits, step.token) for step in steps[: len(kept)]]


def test_recorded_responses_are_the_targets_own_with_its_certainty():
    target = live_pair().target
    entry = recorded().entries[1]
    rows = target.forward([Block(0, 0, entry.text[:-1], len(entry.response))])[0].logits
    assert entry.response == tuple(np.argmax(rows, axis=1).tolist())
    assert [entry.target.certainty(row) for row in range(len(rows))] == [measure(row, int(np.argmax(row))) for row in rows]


def test_batch_size_changes_nothing():
    alone = recorder.load_pair(settings(batch=1))[0]
    entries = recorder._entries(alone, recorded().header, sources()[:3])
    assert [recorder.pack_entry(entry) for entry in entries] == [recorder.pack_entry(entry) for entry in recorded().entries[:3]]


def test_a_response_ends_with_its_stop_token_or_at_its_length():
    stop = frequent_token()
    for entry in recorded(GREEDY, (stop,)).entries:
        assert stop not in entry.response[:-1]
        assert (entry.response[-1] == stop) == (entry.finish is Finish.STOP_TOKEN)
        assert entry.finish is Finish.STOP_TOKEN or len(entry.response) == 24


def test_the_plain_drafter_drafts_the_same_but_for_near_ties():
    """Its last bits differ, so this is a measure and no equality; on a sharp float32 model hardly any token does."""
    model = recorder.model_store.load_model(recorder.model_store.ensure(settings().drafter.model), settings().drafter)
    drafter = CausalModel(model)
    recording = recorded()
    pairs = []
    for entry in recording.entries[:4]:
        for position in range(len(entry.prompt), len(entry.text) - 8, 5):
            kept = entry.draft_from(position, 8).tokens.tolist()
            steps = drafted(drafter, recording.contract(entry), entry.text[:position], len(kept))
            pairs.append([step.token for step in steps] == kept)
    assert sum(pairs) >= 0.9 * len(pairs)


# --- cut short


class Cut(Exception):
    pass


def record_until(count, output, header):
    def told(done, total):
        if done == count:
            raise Cut

    with pytest.raises(Cut):
        recorder.record(pair(), header, sources(), output, told)


def test_a_recording_that_was_cut_short_goes_on_where_it_was_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    output, header = tmp_path / "tests.msgpack.z", replace(recorded().header)
    record_until(7, output, header)
    part = tmp_path / "tests.msgpack.z.part"
    part.write_bytes(part.read_bytes()[:-20])  # the machine went down while the seventh was written
    asked = []
    entries = recorder._entries
    monkeypatch.setattr(recorder, "_entries", lambda pair, header, sources: asked.extend(sources) or entries(pair, header, sources))
    finished = recorder.record(pair(), header, sources(), output)
    assert len(asked) == 12 - 6
    assert finished.packed() == recorded().packed() == read_recording(output).packed()
    assert not part.exists()


def test_a_part_begun_with_other_settings_is_refused(tmp_path):
    output = tmp_path / "tests.msgpack.z"
    record_until(2, output, recorded().header)
    with pytest.raises(SettingsError, match="begun with other"):
        recorder.record(pair(), replace(recorded().header, max_new_tokens=8), sources(), output)


def test_prompts_that_cannot_be_recorded_are_refused_before_anything_runs(tmp_path):
    header = recorded().header
    with pytest.raises(SettingsError, match="same id"):
        recorder.record(pair(), header, (*sources(), sources()[0]), tmp_path / "tests")
    long = replace(sources()[0], tokens=(1,) * 500)
    with pytest.raises(SettingsError, match=r"524 tokens.*512"):
        recorder.record(pair(), header, (long,), tmp_path / "tests")
    assert not list(tmp_path.iterdir())


def test_the_header_names_models_tokenizer_prompts_and_versions():
    header = recorded().header
    assert (header.target.name, header.drafter.name) == ("tiny-target", "tiny-drafter")
    assert header.target.sha256 != header.drafter.sha256 and len(header.target.sha256) == 64
    assert header.target.vocabulary_size == VOCABULARY and header.target.dtype == "float32"
    assert header.prompts.name == PROMPTS.name and header.prompts.template == "chat"
    assert {"airdraft", "torch", "transformers", "numpy", "machine"} <= set(header.versions)
