"""One example of every message, and hypothesis strategies for all of them, already rounded as the wire rounds."""

from __future__ import annotations

from hypothesis import strategies as st

from airdraft.messages import (
    ChannelState,
    Contract,
    Description,
    Draft,
    Finish,
    Load,
    Open,
    Opened,
    Outcome,
    QuantisedRow,
    Resume,
    RuleChoice,
    Stream,
    Streamed,
    Timings,
    Verdict,
)
from airdraft.settings import Sampling

DIGEST = (1 << 64) - 1
RESUME_TOKEN = bytes(range(16))

CONTRACT = Contract(
    protocol_version=1,
    model="tiny",
    tokenizer_digest=b"\x01" * 32,
    vocabulary_size=96,
    prompt=(1, 2, 3),
    sampling=Sampling(temperature=0.7, top_k=40, top_p=0.9, seed=DIGEST),
    rule=RuleChoice("speculative", (("row_width", 16.0),)),
    stop_tokens=(0,),
    max_new_tokens=64,
)
CHANNEL = ChannelState(snr_db=-3.25, uplink_bps=5_000_000.0, downlink_bps=40_000_000.0, round_trip_s=0.0421)
DRAFT = Draft(epoch=1, round=7, position=12, digest=DIGEST, tokens=(5, 0, 9), channel=CHANNEL)
VERDICT = Verdict(1, 7, Outcome.JUDGED, 3, 4, 16, DIGEST, 8, Finish.NO, Timings(0.001, 0.12, 0.06, 2))
DEVICE_MESSAGES = (
    Open(CONTRACT, committed=(8, 9), epoch=2, stream=True),
    Resume("s1", RESUME_TOKEN, 1, 12, DIGEST),
    DRAFT,
    Stream(1, True),
)
VERIFIER_MESSAGES = (
    Opened("s1", RESUME_TOKEN, 2, 8, 14, DIGEST, (4, 5), Finish.STOP_TOKEN),
    VERDICT,
    Streamed(1, 16, (7,), 17, DIGEST, 8, last=True, finish=Finish.LENGTH),
)
DESCRIPTION = Description(
    1, "0.1.0", "tiny", b"\x01" * 32, 96, ("exact", "speculative"), 2048, 8, Load(3, 8, 40, True), ("10.0.0.2:50051",)
)

_u32 = st.integers(0, 2**32 - 1)
_u64 = st.integers(0, 2**64 - 1)
_token = st.integers(0, 2**31 - 1)
_tokens = st.lists(_token, max_size=12).map(tuple)
_name = st.text(min_size=1, max_size=20)
_finish = st.sampled_from(Finish)
_seconds = _u32.map(lambda us: us / 1_000_000)
_timings = st.builds(Timings, _seconds, _seconds, _seconds, _u32)
_rate = st.none() | _u32.map(lambda kbps: float(kbps * 1000))
_channels = st.builds(
    ChannelState,
    snr_db=st.none() | st.integers(-1000, 1000).map(lambda steps: steps / 4),
    uplink_bps=_rate,
    downlink_bps=_rate,
    round_trip_s=st.none() | _u32.map(lambda steps: steps / 10_000),
)
_samplings = st.builds(
    Sampling,
    temperature=st.floats(0, 100),
    top_k=st.integers(0, 2**31 - 1),
    top_p=st.floats(0, 1, exclude_min=True),
    seed=_u64,
)
_rules = st.builds(RuleChoice, _name, st.lists(st.tuples(_name, st.floats(allow_nan=False, allow_infinity=False)), max_size=3).map(tuple))
_contracts = st.builds(
    Contract,
    protocol_version=_u32,
    model=st.text(max_size=20),
    tokenizer_digest=st.binary(max_size=64),
    vocabulary_size=_u32,
    prompt=_tokens,
    sampling=_samplings,
    rule=_rules,
    stop_tokens=_tokens,
    max_new_tokens=_u32,
)


@st.composite
def _rows(draw: st.DrawFn) -> QuantisedRow:
    tokens = draw(st.lists(_token, min_size=1, max_size=8, unique=True))
    weights = draw(st.lists(st.integers(1, 2**32 - 1), min_size=len(tokens), max_size=len(tokens)))
    return QuantisedRow(tuple(sorted(tokens)), tuple(weights))


@st.composite
def _drafts(draw: st.DrawFn) -> Draft:
    tokens = draw(_tokens)
    rows = draw(st.just(()) | st.lists(_rows(), min_size=len(tokens), max_size=len(tokens)).map(tuple))
    return Draft(draw(_u32), draw(_u32), draw(_u32), draw(_u64), tokens, draw(st.none() | _channels), rows)


device_messages = st.one_of(
    st.builds(Open, _contracts, _tokens, _u32, st.booleans()),
    st.builds(Resume, _name, st.binary(min_size=16, max_size=16), _u32, _u32, _u64, st.booleans()),
    _drafts(),
    st.builds(Stream, _u32, st.booleans()),
)
verifier_messages = st.one_of(
    st.builds(Opened, _name, st.binary(min_size=16, max_size=16), _u32, _u32, _u32, _u64, _tokens, _finish),
    st.builds(Verdict, _u32, _u32, st.sampled_from(Outcome), st.integers(0, 4096), st.none() | _token, _u32, _u64, _u32, _finish, _timings),
    st.builds(Streamed, _u32, _u32, _tokens, _u32, _u64, _u32, st.booleans(), _finish, _timings),
)
descriptions = st.builds(
    Description,
    _u32, st.text(max_size=20), st.text(max_size=20), st.binary(max_size=64), _u32, st.lists(_name, max_size=4).map(tuple), _u32, _u32,
    st.builds(Load, _u32, _u32, _u32, st.booleans()), st.lists(_name, max_size=4).map(tuple),
)  # fmt: skip
