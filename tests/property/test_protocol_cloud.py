"""The verifier's side of a session under whatever a link and a device can do to it: the committed text is always the target's own."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from airdraft.messages import Draft, Finish, Outcome, Resume, Stream, Timings
from airdraft.prefix import Prefix, extend
from cloud import session_state
from cloud.seams import Judgement
from cloud.session_state import Identity, Judge, Replay, Stale, Terms
from tests.hash_target import VOCABULARY, contract

LIMIT = 6
CONTEXT = 60


def true_token(digest: int) -> int:
    """The target: a pure function of the prefix."""
    return digest % VOCABULARY


def judge(committed: Prefix, tokens: tuple[int, ...]) -> Judgement:
    """The exact rule."""
    digest = committed.digest()
    for index, token in enumerate(tokens):
        if token != true_token(digest):
            return Judgement(index, true_token(digest))
        digest = extend(digest, token)
    return Judgement(len(tokens), true_token(digest))


class Link(RuleBasedStateMachine):
    """Drafts of every kind, in every order, again and again, with stream mode and cuts between."""

    drafts = Bundle("drafts")

    @initialize(
        max_new_tokens=st.integers(1, 70),
        stop_tokens=st.sets(st.integers(0, VOCABULARY - 1), max_size=2),
        already=st.integers(0, 8),
    )
    def open(self, max_new_tokens: int, stop_tokens: set[int], already: int) -> None:
        agreed = contract(max_new_tokens=max_new_tokens, stop_tokens=tuple(stop_tokens))
        self.terms = Terms(agreed, CONTEXT, 0)
        self.text, self.finish = self.reference()
        committed = self.text[: min(already, len(self.text))]
        self.state, _ = session_state.opened(session_state.begin(Identity("s", bytes(16)), self.terms, committed, 1), LIMIT)
        self.answers: dict[tuple[int, int], object] = {}
        self.emitted = len(committed)
        self.round = 0
        self.longest_seen = 0

    def reference(self) -> tuple[tuple[int, ...], Finish]:
        prompt, agreed = Prefix(self.terms.contract.prompt), self.terms.contract
        start = len(prompt)
        while True:
            prompt.append([true_token(prompt.digest())])
            if prompt[-1] in agreed.stop_tokens:
                return prompt.tokens(start), Finish.STOP_TOKEN
            if len(prompt) - start == agreed.max_new_tokens:
                return prompt.tokens(start), Finish.LENGTH
            if len(prompt) == CONTEXT:
                return prompt.tokens(start), Finish.CAPACITY

    @rule(target=drafts, length=st.integers(0, LIMIT), wrong_at=st.integers(0, 2 * LIMIT), ahead=st.integers(0, 3))
    def draft(self, length: int, wrong_at: int, ahead: int) -> Draft:
        """Made from the committed text, or from a guess of how it goes on; wrong from `wrong_at` on."""
        prefix = self.state.committed.copy()
        for _ in range(ahead):
            prefix.append([true_token(prefix.digest())])
        position, digest, tokens = len(prefix), prefix.digest(), []
        for index in range(length):
            tokens.append((true_token(prefix.digest()) + (index >= wrong_at)) % VOCABULARY)
            prefix.append(tokens[-1:])
        self.round += 1
        return Draft(self.state.epoch, self.round, position, digest, tuple(tokens))

    @rule(target=drafts, draft=drafts, epochs=st.integers(-2, 2), positions=st.integers(-2, 2))
    def tamper(self, draft: Draft, epochs: int, positions: int):
        if not epochs and not positions:
            return multiple()
        self.round += 1
        return replace(draft, epoch=draft.epoch + epochs, position=draft.position + positions, round=self.round)

    @rule(draft=drafts)
    def arrive(self, draft: Draft) -> None:
        """Now, later, or once more."""
        key = (draft.epoch, draft.round)
        before = self.state
        match session_state.classify(self.state, draft):
            case Replay(verdict):
                assert self.answers[key] == verdict and draft.epoch == self.state.epoch
            case Stale(verdict):
                self.state = session_state.record(self.state, verdict)
                assert self.state.committed is before.committed and verdict.outcome is Outcome.STALE
                assert (verdict.epoch, verdict.round) == key
                if draft.epoch == before.epoch:
                    assert key not in self.answers
                    self.answers[key] = verdict
            case Judge(tokens):
                assert key not in self.answers and draft.tokens[: len(tokens)] == tokens
                judgement = judge(self.state.committed, tokens)
                self.state, verdict = session_state.commit_judgement(self.state, draft, judgement, LIMIT, Timings())
                assert verdict.committed_length == len(before.committed) + verdict.accepted + (verdict.token is not None)
                assert draft.tokens[: verdict.accepted] == self.state.committed.tokens(len(before.committed))[: verdict.accepted]
                assert verdict.token is not None or verdict.finish
                self.answers[key] = verdict
                self.emitted += verdict.accepted + (verdict.token is not None)

    @rule(behind=st.integers(0, 10), old=st.integers(0, 3), stream=st.booleans())
    def cut_and_resume(self, behind: int, old: int, stream: bool) -> None:
        length = max(len(self.state.committed) - behind, len(self.terms.contract.prompt))
        message = Resume("s", bytes(16), max(self.state.epoch - old, 1), length, self.state.committed.digest(length), stream)
        before = self.state
        self.state, opened = session_state.resume(self.state, message, LIMIT)
        assert before.committed.tokens(0, length) + opened.tokens == self.state.committed.tokens()
        assert opened.epoch == self.state.epoch == before.epoch + 1 and opened.finish is self.state.finish
        if stream:
            self.state = session_state.start_streaming(self.state)

    @rule(on=st.booleans())
    def switch(self, on: bool) -> None:
        message = Stream(self.state.epoch, on)
        if message.on:
            self.state = session_state.start_streaming(self.state)
        else:
            self.state, last = session_state.stop_streaming(self.state, LIMIT, Timings())
            assert last.last and last.committed_length == len(self.state.committed)

    @rule(count=st.integers(1, 5))
    def decode(self, count: int) -> None:
        for _ in range(count):
            if not self.state.streaming:
                return
            before = len(self.state.committed)
            token = true_token(self.state.committed.digest())
            self.state, message = session_state.commit_streamed(self.state, token, LIMIT, Timings())
            assert (message.position, message.tokens) == (before, (token,))
            assert message.last == bool(message.finish) == (not self.state.streaming)
            self.emitted += 1

    @invariant()
    def the_text_is_the_targets_own_and_only_grows(self) -> None:
        if not hasattr(self, "state"):
            return
        response = self.state.committed.tokens(len(self.terms.contract.prompt))
        assert response == self.text[: len(response)]
        assert len(response) == self.emitted >= self.longest_seen
        assert self.state.finish is (self.finish if len(response) == len(self.text) else Finish.NO)
        self.longest_seen = len(response)


Link.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
TestLink = Link.TestCase
