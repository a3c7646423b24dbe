"""The device's pure state on the worst of links: messages dropped, doubled, reordered, cut off, the verifier restarted.

Whatever happens, what the device holds is a prefix of the target's own text; and once messages get through, the response completes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from airdraft.errors import AirdraftError, ProtocolError, UnknownSessionError
from airdraft.messages import DeviceMessage, Finish, Open, Resume, VerifierMessage
from edge import device_state
from edge.device_state import DeviceState, StreamMode
from edge.seams import DraftStep, Origin
from tests.edge_world import VOCABULARY, ReferenceVerifier, contract, true_token, truth

TERMS = contract(max_new_tokens=14)
TRUTH = truth(TERMS)


@dataclass
class Wire:
    """A device and a verifier with one queue each way. A cut loses both queues; the next message opens a new stream."""

    verifier: ReferenceVerifier = field(default_factory=ReferenceVerifier)
    state: DeviceState = field(default_factory=lambda: device_state.begin(TERMS, 4))
    up: deque[DeviceMessage] = field(default_factory=deque)
    down: deque[VerifierMessage] = field(default_factory=deque)
    session: str | None = None  # the verifier's, once this stream was greeted
    shown: list[int] = field(default_factory=list)

    def connect(self, stream: bool = False) -> None:
        self.up.clear()
        self.down.clear()
        self.session = None
        self.state, message = device_state.opening(self.state, stream)
        self.up.append(message)

    def restart(self) -> None:
        self.verifier.restart()
        self.session = None

    def draft(self, right: int, wrong: int) -> None:
        """Send a draft with some of the target's own tokens and some others, if the protocol lets the device draft now."""
        if not self.state.may_draft or self.state.mode is not StreamMode.OFF or self.state.drafts:
            return
        prefix, steps = self.state.committed.copy(), []
        for index in range(min(right + wrong, self.state.draft_limit)):
            prefix.append([(true_token(prefix) + (index >= right)) % VOCABULARY])
            steps.append(DraftStep(prefix[-1], len(prefix) - 1))
        self.state, message = device_state.next_draft(self.state, steps)
        self.up.append(message)

    def stream(self, on: bool) -> None:
        wanted = StreamMode.OFF if on else StreamMode.ON
        if self.state.may_draft and not self.state.awaiting_opened and self.state.mode is wanted:
            self.state, message = device_state.switch_stream(self.state, on)
            self.up.append(message)

    def verifier_step(self) -> None:
        """The verifier takes one message, or decodes one token in stream mode. Its errors end the stream, as they do in life."""
        if not self.up:
            streamed = self.verifier.decode(self.session) if self.session else None
            self.down.extend([streamed] if streamed else [])
            return
        message = self.up.popleft()
        try:
            if isinstance(message, Open | Resume) and self.session is not None:
                self.connect()  # a second greeting on a stream ends it
            elif isinstance(message, Open | Resume):
                self.session, opened = self.verifier.greet(message)
                self.down.append(opened)
            elif self.session is not None:
                self.down.extend(self.verifier.answer(self.session, message))
        except UnknownSessionError:
            self.state = device_state.forget_session(self.state)
            self.connect()

    def device_step(self) -> None:
        if not self.down:
            return
        message = self.down.popleft()
        try:
            self.state, tokens = device_state.apply(self.state, message)
        except ProtocolError:
            self.connect()
            return
        assert all(token.verified and token.origin is not Origin.ALONE for token in tokens)
        assert [token.position for token in tokens] == list(range(len(self.shown) + 3, len(self.shown) + 3 + len(tokens)))
        self.shown += [token.id for token in tokens]

    def check(self) -> None:
        held = self.state.committed.tokens(3)
        assert held == tuple(self.shown) == TRUTH[: len(held)]
        assert (self.state.finish is Finish.NO) or held == TRUTH


def disturb(queue: deque, how: str) -> None:
    if how == "drop" and queue:
        queue.popleft()
    elif how == "double" and queue:
        queue.append(queue[0])
    elif how == "reorder" and len(queue) > 1:
        queue.rotate(1)


EVENTS = st.one_of(
    st.tuples(st.just("draft"), st.integers(0, 4), st.integers(0, 2)),
    st.tuples(st.sampled_from(["verifier", "device"]), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(["verifier", "device"]), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(["stream on", "stream off", "cut", "cut and stream", "restart"]), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(["drop", "double", "reorder"]), st.booleans(), st.just(0)),
)


def happen(wire: Wire, event: tuple[str, int, int]) -> None:
    what, first, second = event
    actions = {
        "draft": lambda: wire.draft(first, second),
        "verifier": wire.verifier_step,
        "device": wire.device_step,
        "stream on": lambda: wire.stream(True),
        "stream off": lambda: wire.stream(False),
        "cut": wire.connect,
        "cut and stream": lambda: wire.connect(stream=True),
        "restart": wire.restart,
    }
    if what in actions:
        actions[what]()
    else:
        disturb(wire.up if first else wire.down, what)


def complete(wire: Wire) -> int:
    """From here on messages get through; how many steps the rest of the response took."""
    wire.connect()
    for step in range(200):
        if wire.state.finish is not Finish.NO:
            return step
        wire.stream(False)
        if wire.state.mode is StreamMode.OFF:
            wire.draft(2, 1)
        wire.verifier_step()
        wire.device_step()
        wire.check()
    raise AssertionError("the response did not complete")


@settings(max_examples=300, deadline=None)
@example(events=[("double", True, 0), *[("verifier", 0, 0)] * 3, *[("device", 0, 0)] * 3], stream=True)
@given(st.lists(EVENTS, max_size=60), st.booleans())
def test_committed_is_always_a_prefix_of_the_truth_and_the_response_completes(events, stream):
    wire = Wire()
    wire.connect(stream)
    for event in events:
        happen(wire, event)
        wire.check()
    complete(wire)
    assert tuple(wire.shown) == TRUTH


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=30))
def test_without_disturbance_nothing_is_ever_refused_or_stale(drafts):
    wire = Wire()
    wire.connect()
    for right, wrong in drafts:
        wire.draft(right, wrong)
        while wire.up:
            wire.verifier_step()
        while wire.down:
            wire.state, tokens = device_state.apply(wire.state, wire.down.popleft())
            wire.shown += [token.id for token in tokens]
        assert not wire.state.drafts
        wire.check()
    rounds = len(wire.verifier.drafts)
    assert len(wire.shown) >= min(rounds, len(TRUTH)) and wire.verifier.opens == 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_message_from_anywhere_is_taken_refused_or_ignored_but_never_believed(data):
    """A verdict with any fields at all either follows from the state or raises; the device's text stays true to its digest."""
    wire = Wire()
    wire.connect()
    wire.draft(data.draw(st.integers(0, 3)), 1)
    wire.verifier_step()
    wire.verifier_step()
    wire.device_step()
    verdict = wire.down[0]
    field_name = data.draw(st.sampled_from(["epoch", "round", "accepted", "token", "committed_length", "digest"]))
    forged = _forged(verdict, field_name, data.draw(st.integers(-2, 60)))
    before = wire.state
    try:
        after, tokens = device_state.apply(before, forged)
    except AirdraftError:
        return
    assert tuple(token.id for token in tokens) == TRUTH[: len(tokens)]
    assert after.committed.tokens(3) == TRUTH[: after.generated]


def _forged(message: VerifierMessage, field_name: str, value: int) -> VerifierMessage:
    return replace(message, **{field_name: value})
