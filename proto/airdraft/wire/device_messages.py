"""Each message that a device sends, as a protobuf message and back. Writing trusts its own side; reading trusts nothing."""

from __future__ import annotations

import math

from pydantic import ValidationError

from airdraft.errors import MalformedMessageError
from airdraft.messages import Contract, Draft, Open, QuantisedRow, Resume, RuleChoice, Stream
from airdraft.settings import Sampling, describe
from airdraft.wire import bounds
from airdraft.wire.quantities import read_channel, write_channel
from airdraft.wire.v1 import airdraft_pb2 as pb


def write_open(message: Open) -> pb.Open:
    """Open with its whole contract."""
    contract = message.contract
    sampling = contract.sampling
    return pb.Open(
        contract=pb.Contract(
            protocol_version=contract.protocol_version,
            model=contract.model,
            tokenizer_digest=contract.tokenizer_digest,
            vocabulary_size=contract.vocabulary_size,
            prompt=contract.prompt,
            sampling=pb.Sampling(
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=None if sampling.top_p == 1.0 else sampling.top_p,
                seed=sampling.seed,
            ),
            rule=pb.Rule(
                name=contract.rule.name,
                parameters=[pb.Parameter(name=name, value=value) for name, value in contract.rule.parameters],
            ),
            stop_tokens=contract.stop_tokens,
            max_new_tokens=contract.max_new_tokens,
        ),
        committed=message.committed,
        epoch=message.epoch,
        stream=message.stream,
    )


def read_open(wire: pb.Open) -> Open:
    """Raises MalformedMessageError."""
    if not wire.HasField("contract"):
        raise MalformedMessageError("Open carries no contract; it must state what the session's tokens depend on")
    contract = wire.contract
    return Open(
        contract=Contract(
            protocol_version=contract.protocol_version,
            model=bounds.name("the model's name", contract.model, empty=True),
            tokenizer_digest=bounds.tokenizer_digest(contract.tokenizer_digest),
            vocabulary_size=contract.vocabulary_size,
            prompt=bounds.token_ids("the prompt", contract.prompt, bounds.MAX_TEXT_TOKENS),
            sampling=_read_sampling(contract.sampling),
            rule=_read_rule(contract.rule),
            stop_tokens=bounds.token_ids("the stop tokens", contract.stop_tokens, bounds.MAX_STOP_TOKENS),
            max_new_tokens=contract.max_new_tokens,
        ),
        committed=bounds.token_ids("the committed text", wire.committed, bounds.MAX_TEXT_TOKENS),
        epoch=wire.epoch,
        stream=wire.stream,
    )


def write_resume(message: Resume) -> pb.Resume:
    """Resume, field by field."""
    return pb.Resume(
        session_id=message.session_id,
        resume_token=message.resume_token,
        epoch=message.epoch,
        committed_length=message.committed_length,
        digest=message.digest,
        stream=message.stream,
    )


def read_resume(wire: pb.Resume) -> Resume:
    """Raises MalformedMessageError."""
    return Resume(
        session_id=bounds.name("the session id", wire.session_id),
        resume_token=bounds.resume_token(wire.resume_token),
        epoch=wire.epoch,
        committed_length=wire.committed_length,
        digest=wire.digest,
        stream=wire.stream,
    )


def write_draft(message: Draft) -> pb.Draft:
    """Draft, with the channel rounded as `quantities` says."""
    return pb.Draft(
        epoch=message.epoch,
        round=message.round,
        position=message.position,
        digest=message.digest,
        tokens=message.tokens,
        channel=None if message.channel is None else write_channel(message.channel),
        rows=[pb.QuantisedRow(token_steps=bounds.token_steps(row.tokens), weights=row.weights) for row in message.rows],
    )


def read_draft(wire: pb.Draft) -> Draft:
    """Raises MalformedMessageError."""
    tokens = bounds.token_ids("the draft", wire.tokens, bounds.MAX_DRAFT_TOKENS)
    if wire.rows and len(wire.rows) != len(tokens):
        raise MalformedMessageError(
            f"the draft has {len(tokens)} tokens and {len(wire.rows)} rows; expected one row for each token, or none"
        )
    return Draft(
        epoch=wire.epoch,
        round=wire.round,
        position=wire.position,
        digest=wire.digest,
        tokens=tokens,
        channel=read_channel(wire.channel) if wire.HasField("channel") else None,
        rows=tuple(_read_row(row) for row in wire.rows),
    )


def write_stream(message: Stream) -> pb.Stream:
    """Stream, field by field."""
    return pb.Stream(epoch=message.epoch, on=message.on)


def read_stream(wire: pb.Stream) -> Stream:
    """Any value is well formed."""
    return Stream(epoch=wire.epoch, on=wire.on)


def _read_sampling(wire: pb.Sampling) -> Sampling:
    top_p = wire.top_p if wire.HasField("top_p") else 1.0
    try:
        return Sampling(temperature=wire.temperature, top_k=wire.top_k, top_p=top_p, seed=wire.seed)
    except ValidationError as error:
        raise MalformedMessageError(f"sampling settings: {describe(error)}") from None


def _read_rule(wire: pb.Rule) -> RuleChoice:
    bounds.at_most("parameters of the rule", len(wire.parameters), bounds.MAX_PARAMETERS)
    for parameter in wire.parameters:
        if not math.isfinite(parameter.value):
            raise MalformedMessageError(f"the rule's parameter {parameter.name[:60]!r} is {parameter.value}; expected a finite number")
    parameters = tuple((bounds.name("a parameter's name", one.name), one.value) for one in wire.parameters)
    return RuleChoice(bounds.name("the rule's name", wire.name), parameters)


def _read_row(wire: pb.QuantisedRow) -> QuantisedRow:
    if len(wire.token_steps) != len(wire.weights):
        raise MalformedMessageError(f"a row names {len(wire.token_steps)} tokens and {len(wire.weights)} weights; expected as many of each")
    if not wire.weights or min(wire.weights) == 0:
        raise MalformedMessageError("a row is empty or holds a weight of 0; expected weights of at least 1")
    return QuantisedRow(bounds.token_ids_from_steps("a row", wire.token_steps), tuple(wire.weights))
