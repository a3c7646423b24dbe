"""Each message that a verifier sends, as a protobuf message and back. Writing trusts its own side; reading trusts nothing."""

from __future__ import annotations

from airdraft.messages import Description, Finish, Load, Opened, Outcome, Streamed, Verdict
from airdraft.wire import bounds
from airdraft.wire.quantities import read_timings, write_timings
from airdraft.wire.v1 import airdraft_pb2 as pb


def write_opened(message: Opened) -> pb.Opened:
    """Opened, field by field."""
    return pb.Opened(
        session_id=message.session_id,
        resume_token=message.resume_token,
        epoch=message.epoch,
        draft_limit=message.draft_limit,
        committed_length=message.committed_length,
        digest=message.digest,
        tokens=message.tokens,
        finish=message.finish.value,  # type: ignore[arg-type]  # the type stubs want their own enumeration; its numbers are ours
    )


def read_opened(wire: pb.Opened) -> Opened:
    """Raises MalformedMessageError."""
    return Opened(
        session_id=bounds.name("the session id", wire.session_id),
        resume_token=bounds.resume_token(wire.resume_token),
        epoch=wire.epoch,
        draft_limit=wire.draft_limit,
        committed_length=wire.committed_length,
        digest=wire.digest,
        tokens=bounds.token_ids("the tokens since the cut", wire.tokens, bounds.MAX_TEXT_TOKENS),
        finish=bounds.member(Finish, wire.finish),
    )


def write_verdict(message: Verdict) -> pb.Verdict:
    """Verdict, with its timings rounded to microseconds."""
    wire = pb.Verdict(
        epoch=message.epoch,
        round=message.round,
        outcome=message.outcome.value,  # type: ignore[arg-type]  # as above
        accepted=message.accepted,
        token=message.token,
        committed_length=message.committed_length,
        digest=message.digest,
        draft_limit=message.draft_limit,
        finish=message.finish.value,  # type: ignore[arg-type]  # as above
    )
    write_timings(message.timings, wire)
    return wire


def read_verdict(wire: pb.Verdict) -> Verdict:
    """Raises MalformedMessageError."""
    bounds.at_most("accepted tokens", wire.accepted, bounds.MAX_DRAFT_TOKENS)
    return Verdict(
        epoch=wire.epoch,
        round=wire.round,
        outcome=bounds.member(Outcome, wire.outcome),
        accepted=wire.accepted,
        token=bounds.token_ids("the verdict", (wire.token,), 1)[0] if wire.HasField("token") else None,
        committed_length=wire.committed_length,
        digest=wire.digest,
        draft_limit=wire.draft_limit,
        finish=bounds.member(Finish, wire.finish),
        timings=read_timings(wire),
    )


def write_streamed(message: Streamed) -> pb.Streamed:
    """Streamed, with its timings rounded to microseconds."""
    wire = pb.Streamed(
        epoch=message.epoch,
        position=message.position,
        tokens=message.tokens,
        committed_length=message.committed_length,
        digest=message.digest,
        draft_limit=message.draft_limit,
        last=message.last,
        finish=message.finish.value,  # type: ignore[arg-type]  # as above
    )
    write_timings(message.timings, wire)
    return wire


def read_streamed(wire: pb.Streamed) -> Streamed:
    """Raises MalformedMessageError."""
    return Streamed(
        epoch=wire.epoch,
        position=wire.position,
        tokens=bounds.token_ids("the streamed tokens", wire.tokens, bounds.MAX_TEXT_TOKENS),
        committed_length=wire.committed_length,
        digest=wire.digest,
        draft_limit=wire.draft_limit,
        last=wire.last,
        finish=bounds.member(Finish, wire.finish),
        timings=read_timings(wire),
    )


def write_description(message: Description) -> pb.Description:
    """Description with its load."""
    load = message.load
    return pb.Description(
        protocol_version=message.protocol_version,
        software_version=message.software_version,
        model=message.model,
        tokenizer_digest=message.tokenizer_digest,
        vocabulary_size=message.vocabulary_size,
        rules=message.rules,
        context_limit=message.context_limit,
        draft_limit=message.draft_limit,
        load=pb.Load(
            sessions=load.sessions, session_limit=load.session_limit, queued_rows=load.queued_rows, draining=load.draining
        ),
        peers=message.peers,
    )  # fmt: skip


def read_description(wire: pb.Description) -> Description:
    """Raises MalformedMessageError."""
    bounds.at_most("rules", len(wire.rules), bounds.MAX_RULES)
    bounds.at_most("peers", len(wire.peers), bounds.MAX_PEERS)
    load = wire.load
    return Description(
        protocol_version=wire.protocol_version,
        software_version=bounds.name("the software's version", wire.software_version, empty=True),
        model=bounds.name("the model's name", wire.model, empty=True),
        tokenizer_digest=bounds.tokenizer_digest(wire.tokenizer_digest),
        vocabulary_size=wire.vocabulary_size,
        rules=tuple(bounds.name("a rule's name", rule) for rule in wire.rules),
        context_limit=wire.context_limit,
        draft_limit=wire.draft_limit,
        load=Load(load.sessions, load.session_limit, load.queued_rows, load.draining),
        peers=tuple(bounds.name("a peer's address", peer) for peer in wire.peers),
    )
