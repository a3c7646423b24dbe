from dataclasses import replace

import pytest

from airdraft.errors import DraftTooLongError, MalformedMessageError, TokenOutOfRangeError
from airdraft.messages import Finish, Open, Opened, Outcome, Resume, Streamed, Verdict
from airdraft.prefix import Prefix
from edge import device_state
from edge.device_state import DeviceState, StreamMode
from edge.seams import DraftStep, Origin
from tests.edge_world import VOCABULARY, contract

PROMPT = (1, 2, 3)
KEY = b"0123456789abcdef"


def digest(*tokens: int) -> int:
    return Prefix((*PROMPT, *tokens)).digest()


def opened(epoch: int = 1, known: tuple[int, ...] = (), tokens: tuple[int, ...] = (), **others) -> Opened:
    everything = (*known, *tokens)
    return Opened("s1", KEY, epoch, 4, len(PROMPT) + len(everything), digest(*everything), tokens, **others)


def verdict(round_number: int, accepted: int, token: int | None, committed: tuple[int, ...], **others) -> Verdict:
    values = {"epoch": 1, "outcome": Outcome.JUDGED, "committed_length": len(PROMPT) + len(committed), "digest": digest(*committed)}
    return Verdict(round=round_number, accepted=accepted, token=token, draft_limit=6, **{**values, **others})


def streamed(position: int, tokens: tuple[int, ...], committed: tuple[int, ...], **others) -> Streamed:
    return Streamed(1, position, tokens, len(PROMPT) + len(committed), digest(*committed), 6, **others)


def steps(*tokens: int, position: int = 3) -> list[DraftStep]:
    return [DraftStep(token, position + index) for index, token in enumerate(tokens)]


def started(stream: bool = False) -> DeviceState:
    state, _ = device_state.opening(device_state.begin(contract(PROMPT), 8), stream)
    return device_state.apply(state, opened())[0]


def drafted(*tokens: int) -> DeviceState:
    return device_state.next_draft(started(), steps(*tokens))[0]


def test_first_opening_is_an_open_with_nothing_committed_under_epoch_one():
    state, message = device_state.opening(device_state.begin(contract(PROMPT), 8))
    assert message == Open(contract(PROMPT), (), 1, False)
    assert state.may_draft and state.awaiting_opened


def test_opened_grants_the_limit_and_the_key():
    state = started()
    assert (state.draft_limit, state.epoch, state.key) == (4, 1, device_state.SessionKey("s1", KEY))


def test_draft_names_position_digest_and_round():
    state, draft = device_state.next_draft(started(), steps(7, 8))
    assert (draft.epoch, draft.round, draft.position, draft.digest, draft.tokens) == (1, 1, 3, digest(), (7, 8))
    assert state.drafts == (draft,)
    assert device_state.next_draft(state, [])[1].round == 2


def test_draft_ahead_names_the_prefix_it_assumes():
    _, draft = device_state.next_draft(drafted(7, 8), steps(4, position=6), assumed=(7, 8, 9))
    assert (draft.position, draft.digest) == (6, digest(7, 8, 9))


def test_draft_beyond_the_granted_limit_is_refused():
    with pytest.raises(DraftTooLongError, match="granted 4"):
        device_state.next_draft(started(), steps(1, 2, 3, 4, 5))


def test_verdict_commits_what_was_accepted_and_the_correction():
    state, tokens = device_state.apply(drafted(7, 8, 9), verdict(1, 1, 20, (7, 20)))
    assert [(t.id, t.position, t.origin, t.verified) for t in tokens] == [
        (7, 3, Origin.ACCEPTED, True),
        (20, 4, Origin.CORRECTED, True),
    ]
    assert state.committed.tokens() == (*PROMPT, 7, 20)
    assert (state.drafts, state.draft_limit) == ((), 6)


def test_draft_accepted_whole_brings_a_bonus():
    _, tokens = device_state.apply(drafted(7, 8), verdict(1, 2, 9, (7, 8, 9)))
    assert [t.origin for t in tokens] == [Origin.ACCEPTED, Origin.ACCEPTED, Origin.BONUS]


def test_earlier_state_is_left_as_it_was():
    before = drafted(7)
    device_state.apply(before, verdict(1, 1, 9, (7, 9)))
    assert before.committed.tokens() == PROMPT and len(before.drafts) == 1


def test_end_inside_the_draft_comes_without_a_token():
    state, tokens = device_state.apply(drafted(7, 8), verdict(1, 1, None, (7,), finish=Finish.STOP_TOKEN))
    assert [t.id for t in tokens] == [7]
    assert state.finish is Finish.STOP_TOKEN


def test_duplicate_verdict_changes_nothing():
    message = verdict(1, 1, 9, (7, 9))
    once, _ = device_state.apply(drafted(7), message)
    twice, tokens = device_state.apply(once, message)
    assert twice is once and tokens == ()


def test_answers_of_an_older_epoch_change_nothing():
    state = replace(drafted(7), epoch=2)
    for message in (verdict(1, 1, 9, (7, 9)), streamed(3, (7,), (7,)), opened()):
        assert device_state.apply(state, message) == (state, ())


def test_stale_verdict_drops_the_draft_and_commits_nothing():
    first = replace(started(), mode=StreamMode.ENDING)
    state, _ = device_state.next_draft(first, steps(7))
    after, tokens = device_state.apply(state, verdict(1, 0, None, (), outcome=Outcome.STALE))
    assert tokens == () and after.drafts == () and after.committed.tokens() == PROMPT


def test_verdict_that_calls_a_current_draft_stale_is_refused():
    with pytest.raises(MalformedMessageError, match="stale"):
        device_state.apply(drafted(7), verdict(1, 0, None, (), outcome=Outcome.STALE))


def test_stale_verdict_of_a_finished_response_ends_it():
    state, _ = device_state.apply(drafted(7), verdict(1, 0, None, (), outcome=Outcome.STALE, finish=Finish.LENGTH))
    assert state.finish is Finish.LENGTH


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (verdict(1, 1, 9, (7, 9), digest=5), MalformedMessageError),
        (verdict(1, 1, 9, (7, 9), committed_length=9), MalformedMessageError),
        (verdict(1, 3, 9, (7, 8, 9, 9)), MalformedMessageError),
        (verdict(1, -1, 9, (9,)), MalformedMessageError),
        (verdict(1, 1, None, (7,)), MalformedMessageError),
        (verdict(2, 0, 9, (9,)), MalformedMessageError),
        (verdict(1, 1, 9, (7, 9), epoch=2), MalformedMessageError),
        (verdict(1, 1, VOCABULARY, (7, VOCABULARY)), TokenOutOfRangeError),
        (verdict(1, 0, None, (9,), outcome=Outcome.STALE, committed_length=3), MalformedMessageError),
        (streamed(4, (9,), (7, 9)), MalformedMessageError),
        (streamed(3, (7, 9), (7,)), MalformedMessageError),
        (streamed(3, (7,), (9,)), MalformedMessageError),
        (opened(epoch=2), MalformedMessageError),
    ],
)
def test_what_cannot_follow_is_refused(message, error):
    with pytest.raises(error):
        device_state.apply(drafted(7, 8), message)


def test_more_tokens_than_the_contract_allows_are_refused():
    state, _ = device_state.opening(device_state.begin(contract(PROMPT, max_new_tokens=1), 8))
    state, _ = device_state.next_draft(device_state.apply(state, opened())[0], steps(7))
    with pytest.raises(MalformedMessageError, match="1 new tokens"):
        device_state.apply(state, verdict(1, 1, 9, (7, 9)))


def test_answer_before_opened_is_refused():
    state, _ = device_state.opening(device_state.begin(contract(PROMPT), 8))
    state, _ = device_state.next_draft(state, steps(7))
    with pytest.raises(MalformedMessageError, match="before Opened"):
        device_state.apply(state, verdict(1, 1, 9, (7, 9)))


def test_draft_sent_behind_open_stays_in_flight_when_opened_comes():
    state, _ = device_state.opening(device_state.begin(contract(PROMPT), 8))
    state, draft = device_state.next_draft(state, steps(7))
    state, _ = device_state.apply(state, opened())
    assert state.drafts == (draft,)


def test_resume_states_what_the_device_holds():
    state, _ = device_state.apply(drafted(7), verdict(1, 1, 9, (7, 9)))
    cut, message = device_state.opening(state)
    assert message == Resume("s1", KEY, 1, 5, digest(7, 9), False)
    assert not cut.may_draft


def test_answers_on_the_way_to_a_resume_are_left_to_its_opened():
    cut, _ = device_state.opening(drafted(7))
    assert device_state.apply(cut, verdict(1, 1, 9, (7, 9))) == (cut, ())


def test_opened_after_resume_brings_the_lost_verdict_with_its_origins():
    cut, _ = device_state.opening(drafted(7, 8))
    state, tokens = device_state.apply(cut, opened(epoch=2, tokens=(7, 20, 21)))
    assert [(t.id, t.origin) for t in tokens] == [(7, Origin.ACCEPTED), (20, Origin.CORRECTED), (21, Origin.STREAMED)]
    assert state.drafts == () and state.epoch == 2 and state.may_draft


def test_second_opened_of_a_resume_changes_nothing():
    cut, _ = device_state.opening(drafted(7))
    state, _ = device_state.apply(cut, opened(epoch=2, tokens=(7, 9)))
    assert device_state.apply(state, opened(epoch=2, tokens=(7, 9))) == (state, ())


def test_opened_of_the_old_epoch_does_not_answer_a_resume():
    cut, _ = device_state.opening(drafted(7))
    assert device_state.apply(cut, opened(epoch=1)) == (cut, ())


def test_lost_session_is_opened_anew_with_all_that_is_committed():
    state, _ = device_state.apply(drafted(7), verdict(1, 1, 9, (7, 9)))
    again, message = device_state.opening(device_state.forget_session(state), stream=True)
    assert message == Open(contract(PROMPT), (7, 9), 2, True)
    after, tokens = device_state.apply(again, opened(epoch=2, known=(7, 9)))
    assert tokens == () and after.mode is StreamMode.ON and after.may_draft


def test_streamed_tokens_are_committed_as_streamed():
    state, tokens = device_state.apply(started(stream=True), streamed(3, (7, 8), (7, 8)))
    assert [(t.id, t.position, t.origin) for t in tokens] == [(7, 3, Origin.STREAMED), (8, 4, Origin.STREAMED)]
    assert state.mode is StreamMode.ON


def test_streamed_overlap_commits_only_what_is_new():
    state, _ = device_state.apply(started(stream=True), streamed(3, (7,), (7,)))
    state, tokens = device_state.apply(state, streamed(3, (7, 8), (7, 8)))
    assert [t.id for t in tokens] == [8]
    assert device_state.apply(state, streamed(3, (7,), (7,)))[1] == ()


def test_last_streamed_message_ends_stream_mode():
    state, message = device_state.switch_stream(started(stream=True), False)
    assert (message.epoch, message.on, state.mode) == (1, False, StreamMode.ENDING)
    state, tokens = device_state.apply(state, streamed(3, (), (), last=True))
    assert state.mode is StreamMode.OFF and tokens == ()


def test_finished_response_takes_nothing_more():
    state, _ = device_state.apply(started(stream=True), streamed(3, (7,), (7,), last=True, finish=Finish.LENGTH))
    assert device_state.apply(state, streamed(4, (8,), (7, 8))) == (state, ())
    assert not state.may_draft
