from __future__ import annotations

from dataclasses import replace

import pytest

from airdraft.errors import DraftTooLongError, MalformedMessageError, ProtocolError, TokenOutOfRangeError
from airdraft.messages import Draft, Finish, Outcome, QuantisedRow, Resume, Timings
from airdraft.prefix import Prefix
from cloud import session_state
from cloud.seams import Judgement
from cloud.session_state import KEPT_VERDICTS, Identity, Judge, Replay, SessionState, Stale, Terms
from tests.hash_target import VOCABULARY, contract

IDENTITY = Identity("session", bytes(16))
TIMINGS = Timings(0.1, 0.2, 0.3, 4)


def opened(committed=(), context_limit=100, row_width=0, limit=8, **changes) -> SessionState:
    terms = Terms(contract(**changes), context_limit, row_width)
    state = session_state.begin(IDENTITY, terms, committed, epoch=1)
    return session_state.opened(state, limit)[0]


def draft(state: SessionState, tokens=(), number=1, **changes) -> Draft:
    made = Draft(state.epoch, number, len(state.committed), state.committed.digest(), tuple(tokens))
    return replace(made, **changes)


def commit(state, tokens, accepted, token, number=1):
    return session_state.commit_judgement(state, draft(state, tokens, number), Judgement(accepted, token), 8, TIMINGS)


def resume(state, **changes) -> Resume:
    message = Resume("session", bytes(16), state.epoch, len(state.committed), state.committed.digest())
    return replace(message, **changes)


def test_a_new_session_greets_with_its_prompt_and_nothing_else():
    terms = Terms(contract(), 100, 0)
    state, message = session_state.opened(session_state.begin(IDENTITY, terms, (), 1), 5)
    assert (message.committed_length, message.digest, message.tokens) == (3, Prefix((1, 2, 3)).digest(), ())
    assert (message.session_id, message.draft_limit, message.epoch, message.finish) == ("session", 5, 1, Finish.NO)
    assert state.granted == 5


def test_reopening_keeps_what_an_earlier_verifier_committed():
    state = opened(committed=(4, 5))
    assert state.committed.tokens() == (1, 2, 3, 4, 5)


def test_reopening_an_ended_response_says_that_it_ended():
    assert opened(committed=(4, 9), stop_tokens=(9,)).finish is Finish.STOP_TOKEN
    assert opened(committed=(4, 5), max_new_tokens=2).finish is Finish.LENGTH


@pytest.mark.parametrize("changes", [{"stop_tokens": (4,)}, {"max_new_tokens": 1}])
def test_reopening_past_the_responses_end_is_refused(changes):
    with pytest.raises(MalformedMessageError, match="ended after 1"):
        opened(committed=(4, 5), **changes)


def test_accepted_tokens_and_the_targets_token_are_committed():
    state, verdict = commit(opened(), (4, 5, 6), accepted=2, token=7)
    assert state.committed.tokens(3) == (4, 5, 7)
    assert (verdict.outcome, verdict.accepted, verdict.token, verdict.round) == (Outcome.JUDGED, 2, 7, 1)
    assert (verdict.committed_length, verdict.digest) == (6, Prefix((1, 2, 3, 4, 5, 7)).digest())
    assert (verdict.draft_limit, verdict.timings, verdict.finish) == (8, TIMINGS, Finish.NO)


def test_an_older_state_stays_what_it_was():
    before = opened()
    commit(before, (4, 5), accepted=2, token=6)
    assert before.committed.tokens() == (1, 2, 3) and not before.verdicts


@pytest.mark.parametrize(
    ("changes", "accepted", "expected", "token", "finish"),
    [
        ({"stop_tokens": (5,)}, 3, (4, 5), None, Finish.STOP_TOKEN),
        ({"stop_tokens": (7,)}, 3, (4, 5, 6, 7), 7, Finish.STOP_TOKEN),
        ({"max_new_tokens": 2}, 3, (4, 5), None, Finish.LENGTH),
        ({"max_new_tokens": 4}, 3, (4, 5, 6, 7), 7, Finish.LENGTH),
        ({"context_limit": 5}, 3, (4, 5), None, Finish.CAPACITY),
        ({"context_limit": 6, "max_new_tokens": 3}, 3, (4, 5, 6), None, Finish.LENGTH),
        ({"max_new_tokens": 2, "stop_tokens": (5,)}, 3, (4, 5), None, Finish.STOP_TOKEN),
    ],
)
def test_the_committed_text_never_runs_past_its_end(changes, accepted, expected, token, finish):
    state, verdict = commit(opened(**changes), (4, 5, 6), accepted, token=7)
    assert state.committed.tokens(3) == expected
    assert (verdict.finish, state.finish, verdict.token) == (finish, finish, token)
    assert verdict.accepted + (token is not None) == len(expected)


@pytest.mark.parametrize(
    ("changes", "judged"),
    [({}, (4, 5, 6)), ({"max_new_tokens": 2}, (4, 5)), ({"context_limit": 4}, (4,)), ({"stop_tokens": (5,)}, (4, 5))],
)
def test_draft_tokens_that_cannot_be_committed_are_not_judged(changes, judged):
    state = opened(**changes)
    assert session_state.classify(state, draft(state, (4, 5, 6))) == Judge(judged)


def test_an_empty_draft_is_judged():
    state = opened()
    assert session_state.classify(state, draft(state)) == Judge(())


def test_a_round_asked_again_is_answered_alike():
    before = opened()
    state, verdict = commit(before, (4, 5), accepted=1, token=9)
    again = session_state.classify(state, draft(before, (4, 5)))
    assert isinstance(again, Replay) and again.verdict is verdict


def test_a_stale_round_asked_again_stays_stale():
    before = opened()
    early = draft(before, (4,), number=2, position=4)
    answer = session_state.classify(before, early)
    assert isinstance(answer, Stale)
    state, _ = commit(session_state.record(before, answer.verdict), (), 0, 4)
    assert session_state.classify(state, early) == Replay(answer.verdict)


@pytest.mark.parametrize("changes", [{"position": 2}, {"position": 4}, {"digest": 12345}, {"epoch": 2}, {"epoch": 0}])
def test_a_draft_from_another_prefix_or_epoch_is_stale(changes):
    state = opened()
    late = draft(state, (4,), **changes)
    answer = session_state.classify(state, late)
    assert isinstance(answer, Stale)
    verdict = answer.verdict
    assert (verdict.epoch, verdict.round, verdict.outcome, verdict.accepted, verdict.token) == (late.epoch, 1, Outcome.STALE, 0, None)
    assert (verdict.committed_length, verdict.digest) == (3, state.committed.digest())


def test_an_answer_to_another_epoch_is_not_kept():
    state = opened()
    answer = session_state.classify(state, draft(state, (4,), epoch=9))
    assert isinstance(answer, Stale)
    assert session_state.record(state, answer.verdict) == state
    assert session_state.classify(state, draft(state, (4,))) == Judge((4,))


def test_a_draft_during_stream_mode_or_after_the_end_is_stale():
    streaming = session_state.start_streaming(opened())
    assert isinstance(session_state.classify(streaming, draft(streaming)), Stale)
    ended, _ = commit(opened(max_new_tokens=1), (), 0, 4)
    assert isinstance(session_state.classify(ended, draft(ended, number=2)), Stale)


def test_a_draft_over_the_limit_is_refused_in_words():
    state = opened(limit=2)
    with pytest.raises(DraftTooLongError, match="3 tokens in round 1; expected at most the 2 granted"):
        session_state.classify(state, draft(state, (4, 5, 6)))


def test_a_draft_may_still_use_a_limit_whose_successor_was_on_its_way():
    state, _ = session_state.commit_judgement(opened(limit=4), draft(opened()), Judgement(0, 9), draft_limit=1, timings=TIMINGS)
    assert session_state.classify(state, draft(state, (4, 5, 6, 7), number=2)) == Judge((4, 5, 6, 7))


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_a_token_out_of_range_is_refused(token):
    state = opened()
    with pytest.raises(TokenOutOfRangeError, match=str(token)):
        session_state.classify(state, draft(state, (4, token)))


def test_rows_that_the_rule_needs_must_be_there_and_sound():
    state = opened(row_width=4)
    sound = QuantisedRow((4, 5), (4000, 96))
    assert session_state.classify(state, draft(state, (4,), rows=(sound,))) == Judge((4,))
    faulty = [(), (sound, sound), (QuantisedRow((5,), (4096,)),), (QuantisedRow((4, 5), (4000, 97)),)]
    for rows in faulty:
        with pytest.raises(MalformedMessageError):
            session_state.classify(state, draft(state, (4,), rows=rows))
    with pytest.raises(TokenOutOfRangeError):
        session_state.classify(state, draft(state, (4,), rows=(QuantisedRow((4, VOCABULARY), (4000, 96)),)))


def test_only_the_latest_verdicts_are_kept():
    state = opened(max_new_tokens=500, context_limit=900)
    for number in range(KEPT_VERDICTS + 5):
        state, _ = commit(state, (), 0, 4, number)
    assert list(state.verdicts) == list(range(5, KEPT_VERDICTS + 5))


def test_streamed_tokens_are_committed_one_by_one_until_the_end():
    state = session_state.start_streaming(opened(max_new_tokens=2))
    state, first = session_state.commit_streamed(state, 4, 8, TIMINGS)
    assert (first.position, first.tokens, first.committed_length, first.last, first.finish) == (3, (4,), 4, False, Finish.NO)
    state, second = session_state.commit_streamed(state, 5, 8, TIMINGS)
    assert (second.position, second.tokens, second.last, second.finish) == (4, (5,), True, Finish.LENGTH)
    assert not state.streaming and second.digest == state.committed.digest()


def test_stream_mode_ends_with_an_empty_last_message():
    state = session_state.start_streaming(opened())
    state, last = session_state.stop_streaming(state, 8, TIMINGS)
    assert (last.tokens, last.last, last.position, last.committed_length) == ((), True, 3, 3)
    assert session_state.classify(state, draft(state)) == Judge(())


def test_a_finished_session_does_not_stream():
    state, _ = commit(opened(max_new_tokens=1), (), 0, 4)
    assert not session_state.start_streaming(state).streaming


def test_resuming_brings_what_was_missed_and_a_new_epoch():
    before = opened()
    state, _ = commit(before, (4, 5), accepted=2, token=6)
    state, message = session_state.resume(session_state.start_streaming(state), resume(before), 3)
    assert (message.tokens, message.committed_length, message.epoch, message.draft_limit) == ((4, 5, 6), 6, 2, 3)
    assert (state.epoch, state.streaming, state.granted, dict(state.verdicts)) == (2, False, 3, {})


def test_resuming_again_with_an_old_epoch_works_since_the_answer_may_have_been_lost():
    before = opened()
    once, _ = session_state.resume(before, resume(before), 3)
    twice, message = session_state.resume(once, resume(before), 3)
    assert twice.epoch == message.epoch == 3


@pytest.mark.parametrize("changes", [{"committed_length": 2}, {"committed_length": 4}, {"digest": 1}, {"epoch": 2}])
def test_resuming_with_another_text_is_refused(changes):
    state = opened()
    with pytest.raises(ProtocolError):
        session_state.resume(state, resume(state, **changes), 3)
