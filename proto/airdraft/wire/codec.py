"""Messages to bytes and back. Whatever bytes come, decoding gives a message within its bounds or a MalformedMessageError in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from airdraft.errors import MalformedMessageError
from airdraft.messages import Description, DeviceMessage, Draft, Open, Opened, Resume, Stream, Streamed, Verdict, VerifierMessage
from airdraft.wire import device_messages as device
from airdraft.wire import verifier_messages as verifier
from airdraft.wire.v1 import airdraft_pb2 as pb

Wire = TypeVar("Wire", bound=Message)
Value = TypeVar("Value")


def encode_device(message: DeviceMessage) -> bytes:
    """A device's message with its envelope. Raises MalformedMessageError for a value that no field can hold."""
    return _encode(_device_envelope, message)


def decode_device(data: bytes) -> DeviceMessage:
    """Raises MalformedMessageError."""
    envelope = _parse(pb.DeviceEnvelope, data)
    match envelope.WhichOneof("message"):
        case "draft":
            return device.read_draft(envelope.draft)
        case "stream":
            return device.read_stream(envelope.stream)
        case "open":
            return device.read_open(envelope.open)
        case "resume":
            return device.read_resume(envelope.resume)
    raise _nothing_known(data, "Open, Resume, Draft or Stream")


def encode_verifier(message: VerifierMessage) -> bytes:
    """A verifier's message with its envelope. Raises MalformedMessageError for a value that no field can hold."""
    return _encode(_verifier_envelope, message)


def decode_verifier(data: bytes) -> VerifierMessage:
    """Raises MalformedMessageError."""
    envelope = _parse(pb.VerifierEnvelope, data)
    match envelope.WhichOneof("message"):
        case "verdict":
            return verifier.read_verdict(envelope.verdict)
        case "streamed":
            return verifier.read_streamed(envelope.streamed)
        case "opened":
            return verifier.read_opened(envelope.opened)
    raise _nothing_known(data, "Opened, Verdict or Streamed")


def encode_description(message: Description) -> bytes:
    """The answer to Describe, which travels without an envelope. Raises MalformedMessageError."""
    return _encode(verifier.write_description, message)


def decode_description(data: bytes) -> Description:
    """Raises MalformedMessageError."""
    return verifier.read_description(_parse(pb.Description, data))


def _device_envelope(message: DeviceMessage) -> pb.DeviceEnvelope:
    match message:
        case Draft():
            return pb.DeviceEnvelope(draft=device.write_draft(message))
        case Stream():
            return pb.DeviceEnvelope(stream=device.write_stream(message))
        case Open():
            return pb.DeviceEnvelope(open=device.write_open(message))
        case Resume():
            return pb.DeviceEnvelope(resume=device.write_resume(message))


def _verifier_envelope(message: VerifierMessage) -> pb.VerifierEnvelope:
    match message:
        case Verdict():
            return pb.VerifierEnvelope(verdict=verifier.write_verdict(message))
        case Streamed():
            return pb.VerifierEnvelope(streamed=verifier.write_streamed(message))
        case Opened():
            return pb.VerifierEnvelope(opened=verifier.write_opened(message))


def _encode(write: Callable[[Value], Message], message: Value) -> bytes:
    try:
        return write(message).SerializeToString()
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedMessageError(f"{type(message).__name__} cannot be sent: {error}") from error


def _parse(kind: type[Wire], data: bytes) -> Wire:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise MalformedMessageError(
            f"{len(data)} bytes are no {kind.DESCRIPTOR.name}: {error}; expected one whole protobuf message"
        ) from None


def _nothing_known(data: bytes, expected: str) -> MalformedMessageError:
    return MalformedMessageError(f"{len(data)} bytes hold no message that this version of the protocol knows; expected {expected}")
