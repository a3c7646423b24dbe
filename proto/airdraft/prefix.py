"""A sequence of tokens with a digest of every prefix, so that "made from the same prefix?" is one comparison of 64 bits.

It knows nothing of sessions or messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

EMPTY_DIGEST = 0


def extend(digest: int, token: int) -> int:
    """Digest (unsigned 64 bits) of a prefix one token longer: a chain, so it costs one hash per token."""
    chained = digest.to_bytes(8, "little") + token.to_bytes(8, "little")
    return int.from_bytes(blake2b(chained, digest_size=8).digest(), "little")


class Prefix:
    """Tokens [n] and the digest of each of their n + 1 prefixes. Append-only but for `cut`."""

    __slots__ = ("_digests", "_tokens")

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self._tokens: list[int] = []
        self._digests: list[int] = [EMPTY_DIGEST]
        self.append(tokens)

    def append(self, tokens: Iterable[int]) -> None:
        """Grow by these tokens."""
        for token in tokens:
            self._digests.append(extend(self._digests[-1], token))
            self._tokens.append(token)

    def cut(self, length: int) -> None:
        """Forget everything from absolute position `length` on."""
        del self._tokens[length:]
        del self._digests[length + 1 :]

    def digest(self, length: int | None = None) -> int:
        """Digest of the first `length` tokens (default: of all)."""
        return self._digests[-1 if length is None else length]

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> int:
        return self._tokens[index]

    def tokens(self, start: int = 0, stop: int | None = None) -> tuple[int, ...]:
        """The tokens at positions `start` to `stop`, the latter excluded."""
        return tuple(self._tokens[start:stop])

    def copy(self) -> Prefix:
        """A twin that grows apart."""
        twin = Prefix()
        twin._tokens = self._tokens.copy()
        twin._digests = self._digests.copy()
        return twin
