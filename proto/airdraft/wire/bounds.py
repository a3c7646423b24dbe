"""What a decoded message may hold at most, and the checks that refuse more, each in words. It knows no message as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import accumulate, pairwise
from typing import TypeVar

from airdraft.errors import MalformedMessageError

MAX_TEXT_TOKENS = 1 << 20  # a prompt, or the committed tokens of a re-opening
MAX_DRAFT_TOKENS = 4096
MAX_ROW_ENTRIES = 4096
MAX_STOP_TOKENS = 4096
MAX_PARAMETERS = 64
MAX_RULES = 256
MAX_PEERS = 64
MAX_NAME_BYTES = 256
MAX_DIGEST_BYTES = 64
RESUME_TOKEN_BYTES = 16
TOKEN_LIMIT = 1 << 31  # token ids are below this
MAX_MESSAGE_BYTES = 8 << 20  # two texts of the largest size still fit

Value = TypeVar("Value", bound=IntEnum)


def at_most(what: str, count: int, limit: int) -> None:
    """Refuse a count over its limit."""
    if count > limit:
        raise MalformedMessageError(f"{what}: {count} given, at most {limit} allowed")


def token_ids(what: str, values: Sequence[int], limit: int) -> tuple[int, ...]:
    """Token ids as a tuple, refused when there are more than `limit` or one is not below TOKEN_LIMIT."""
    at_most(f"tokens in {what}", len(values), limit)
    if values and max(values) >= TOKEN_LIMIT:
        raise MalformedMessageError(f"{what} holds token id {max(values)}; ids must be below {TOKEN_LIMIT}")
    return tuple(values)


def token_steps(values: Sequence[int]) -> list[int]:
    """Ascending token ids as differences, each from the one before it (the first from 0). Other orders give one that no field holds."""
    return [after - before for before, after in pairwise((0, *values))]


def token_ids_from_steps(what: str, steps: Iterable[int]) -> tuple[int, ...]:
    """Undo `token_steps`; refused when an id comes twice or is not below TOKEN_LIMIT."""
    ids = tuple(accumulate(steps))
    if len(set(ids)) != len(ids):
        raise MalformedMessageError(f"{what} names a token twice; each token has one weight")
    return token_ids(what, ids, MAX_ROW_ENTRIES)


def name(what: str, value: str, *, empty: bool = False) -> str:
    """A short text, refused when over-long, or empty unless that is allowed."""
    at_most(f"bytes in {what}", len(value.encode()), MAX_NAME_BYTES)
    if not value and not empty:
        raise MalformedMessageError(f"{what} is empty; a name was expected")
    return value


def tokenizer_digest(value: bytes) -> bytes:
    """A digest of at most MAX_DIGEST_BYTES bytes."""
    at_most("bytes in the tokenizer digest", len(value), MAX_DIGEST_BYTES)
    return value


def resume_token(value: bytes) -> bytes:
    """The 16 bytes that prove who resumes."""
    if len(value) != RESUME_TOKEN_BYTES:
        raise MalformedMessageError(f"the resume token has {len(value)} bytes, {RESUME_TOKEN_BYTES} expected; send it as Opened gave it")
    return value


def member(kind: type[Value], value: int) -> Value:
    """A value of an enumeration, refused when this version does not know it."""
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(f"{one.value} ({one.name})" for one in kind)
        raise MalformedMessageError(f"{kind.__name__} {value} is not known; expected one of {known}") from None
