"""The recordings that are shipped: what they hold, and that real models say the same again."""

from pathlib import Path

import pytest

from airdraft import models
from orchestration.recording.acceptance import acceptance
from orchestration.recording.recorder import RecordingSettings, load_pair, software
from orchestration.recording.recording import read_recording
from orchestration.recording.replay import RecordedDrafter, RecordedTarget, Repertoire
from tests.recorded_pair import live_with, responses

FOLDER = Path(__file__).parents[2] / "deploy" / "recordings"
LEAST = {"humaneval": 40, "gsm8k_test": 40, "spec_bench": 60}


def shipped():
    return {path.name.removesuffix(".msgpack.z"): read_recording(path) for path in sorted(FOLDER.glob("*.msgpack.z"))}


def test_enough_prompts_of_each_set_are_shipped_in_little_room_with_their_licences():
    recordings = shipped()
    assert {name: len(recordings[name].entries) >= count for name, count in LEAST.items()} == dict.fromkeys(LEAST, True)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000
    assert {recording.header.prompts.licence for recording in recordings.values()} == {"Apache-2.0", "MIT"}
    known = models.known_models()
    for recording in recordings.values():
        for model in (recording.header.target, recording.header.drafter):
            assert model.sha256 == known[model.name].sha256 and model.dtype == "bfloat16"


def test_all_shipped_recordings_replay_together_to_their_end():
    recordings = list(shipped().values())
    repertoire = Repertoire(recordings)
    chosen = [(recording, entry) for recording in recordings for entry in recording.entries[::12]]
    drafter = RecordedDrafter(repertoire)
    records = responses(RecordedTarget(repertoire, 4, 2048), drafter, 8, [recording.contract(entry) for recording, entry in chosen])
    assert [record.tokens for record in records] == [entry.response for _, entry in chosen]
    assert drafter.unanswered == 0
    assert 0.5 < acceptance([entry for _, entry in chosen], 8).agreement < 0.99


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.models
def test_the_models_say_again_what_was_recorded():
    recordings = [recording for name, recording in shipped().items() if name != "spec_bench"]
    here, there = software(), recordings[0].header.versions
    if any(here[name] != there[name] for name in ("machine", "torch")):
        pytest.skip(f"recorded with {dict(there)}; this is {here}, whose last bits may differ")
    header = recordings[0].header
    settings = RecordingSettings(target={"model": header.target.name}, drafter={"model": header.drafter.name}, batch=4, context=1024)
    pair = load_pair(settings)[0]
    agreed = [recording.contract(entry, 32) for recording in recordings for entry in recording.entries[::8][:5]]
    assert len(agreed) == 10
    repertoire = Repertoire(recordings)
    for draft_length in (1, 4, 8):
        replay = responses(RecordedTarget(repertoire, 4, 1024), RecordedDrafter(repertoire), draft_length, agreed)
        assert live_with(pair, draft_length, agreed) == replay
