"""A replay is the live run: the same tokens, rounds, bytes and, in virtual time, the same seconds."""

from dataclasses import replace

import numpy as np
import pytest

from airdraft.messages import Finish
from orchestration.recording.recording import Recording
from tests.recorded_pair import GREEDY, SEEDED, frequent_token, live, recorded, replayed


def contracts(recording: Recording, **changes):
    return [recording.contract(entry, **changes) for entry in recording.entries]


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize("draft_length", [1, 4, 8])
def test_replay_equals_the_live_run_in_every_token_round_byte_and_second(draft_length, sampling):
    recording = recorded(sampling)
    agreed = contracts(recording)
    expected = live(draft_length, agreed)
    assert len(expected) == 12
    assert sum(answer.accepted for record in expected for answer in record.rounds) > 12 * 4  # else nothing is tested
    assert sum(len(answer.drafted) - answer.accepted for record in expected for answer in record.rounds) > 12
    assert replayed(recording, draft_length, agreed) == expected


def test_drafts_as_long_as_the_recording_goes_are_replayed_whole():
    agreed = contracts(recorded())
    assert replayed(recorded(), 16, agreed) == live(16, agreed)


def test_shorter_responses_than_were_recorded_are_replayed_too():
    agreed = contracts(recorded(), max_new_tokens=9)
    assert replayed(recorded(), 4, agreed) == live(4, agreed)


@pytest.mark.parametrize("draft_length", [4, 8])
def test_responses_that_end_with_a_stop_token_are_replayed_to_the_letter(draft_length):
    recording = recorded(GREEDY, (frequent_token(),))
    ended = [entry for entry in recording.entries if entry.finish is Finish.STOP_TOKEN]
    assert len(ended) >= 2 and len({len(entry.response) for entry in ended}) >= 2
    agreed = contracts(recording)
    assert replayed(recording, draft_length, agreed) == live(draft_length, agreed)


def test_streaming_is_replayed():
    agreed = contracts(recorded())
    assert replayed(recorded(), 4, agreed, "stream") == live(4, agreed, "stream")


def test_one_wrong_draft_token_in_the_recording_shows():
    recording = recorded()
    entry = recording.entries[0]
    row = next(row for row in range(5) if row not in entry.misses)
    tokens = np.array(entry.drafter.tokens)
    tokens[row] = (tokens[row] + 1) % 10
    lengths = list(entry.continuation_lengths)
    lengths.insert(sum(miss < row for miss in entry.misses), 0)
    forged = replace(entry, drafter=replace(entry.drafter, tokens=tokens), continuation_lengths=tuple(lengths))
    agreed = contracts(recording)
    altered = replayed(Recording(recording.header, (forged, *recording.entries[1:])), 4, agreed)
    honest = replayed(recording, 4, agreed)
    assert altered[0].rounds != honest[0].rounds
    assert altered[0].tokens == honest[0].tokens
