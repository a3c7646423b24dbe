"""What the link is like, from real exchanges that cost the verifier nothing: sessions that are over as soon as they are opened.

An Open whose response is already complete is answered at once, without a forward. A small one shows the round trip. One with a long list of
stop tokens up, and a long committed text that is resumed down, show the rates by how much longer they take: both are cheap to handle.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from airdraft.errors import DeadlineError, UnavailableError
from airdraft.messages import Contract, DeviceMessage, Open, Opened, Resume
from airdraft.prefix import Prefix
from airdraft.transport import Transport
from airdraft.wire.bounds import MAX_STOP_TOKENS

EXCHANGES = 9
LARGE_EXCHANGES = 5
LARGE_TOKENS = MAX_STOP_TOKENS  # at most; downwards the verifier's context bounds it, too
DEADLINE_S = 20.0  # of one exchange
LEAST_TRANSFER_S = 0.001  # a shorter one cannot be told from what the two programs take to handle the message


@dataclass(frozen=True, slots=True)
class Rate:
    """One direction. `bps` None: not measured, and `why`."""

    bps: float | None
    why: str


@dataclass(frozen=True, slots=True)
class LinkFindings:
    """Seconds and bits per second, as the device sees them."""

    round_trip_s: float
    deviation_s: float  # median distance of a round trip from the median one
    uplink: Rate
    downlink: Rate


@dataclass(frozen=True, slots=True)
class _Exchange:
    elapsed_s: float
    bytes_up: int
    bytes_down: int
    opened: Opened


async def probe(transport: Transport, contract: Contract, context_limit: int) -> LinkFindings:
    """Measure. `contract` names the parties; its prompt and limits are replaced. Raises what the transport raises."""
    small_contract = replace(contract, prompt=contract.prompt[:1], max_new_tokens=1, stop_tokens=())
    small_open = Open(small_contract, committed=contract.prompt[:1])
    await _exchange(transport, small_open)  # the first one pays for the connection
    small = [await _exchange(transport, small_open) for _ in range(EXCHANGES)]
    tokens = _dear_tokens(LARGE_TOKENS, contract.vocabulary_size)
    large_up = Open(replace(small_contract, stop_tokens=tokens), committed=contract.prompt[:1])
    up = [await _exchange(transport, large_up) for _ in range(LARGE_EXCHANGES)]
    text = tokens[: context_limit - 2]
    large_down = Open(replace(small_contract, max_new_tokens=len(text)), committed=text)
    down = [await _resumed(transport, large_down) for _ in range(LARGE_EXCHANGES)]
    times = [exchange.elapsed_s for exchange in small]
    middle_s = median(times)
    return LinkFindings(
        middle_s,
        median(abs(each - middle_s) for each in times),
        rate(times, [each.elapsed_s for each in up], up[0].bytes_up),
        rate(times, [each.elapsed_s for each in down], down[0].bytes_down),
    )


def rate(small_s: Sequence[float], large_s: Sequence[float], size: int) -> Rate:
    """The rate at which `size` bytes went, if they took longer than small messages do: each of them, and not by a trifle."""
    transfer_s = median(large_s) - median(small_s)
    if min(large_s) <= sorted(small_s)[(4 * len(small_s)) // 5]:
        return Rate(None, f"{size} bytes took no longer than small messages vary among themselves")
    if transfer_s < LEAST_TRANSFER_S:
        return Rate(None, f"{size} bytes took less than {LEAST_TRANSFER_S * 1e3:g} ms longer than a small message: faster than can be told")
    return Rate(8 * size / transfer_s, f"{size} bytes took {transfer_s * 1e3:.1f} ms longer than a small message")


def _dear_tokens(count: int, vocabulary_size: int) -> tuple[int, ...]:
    """Ids that take as many bytes as ids can, in an order that does not compress."""
    choose = random.Random(0)
    return tuple(choose.randrange(vocabulary_size // 2, vocabulary_size) for _ in range(count))


async def _resumed(transport: Transport, opening: Open) -> _Exchange:
    """Open a complete session, and ask for all of it."""
    session = (await _exchange(transport, opening)).opened
    prompt = Prefix(opening.contract.prompt)
    return await _exchange(transport, Resume(session.session_id, session.resume_token, session.epoch, len(prompt), prompt.digest()))


async def _exchange(transport: Transport, message: DeviceMessage) -> _Exchange:
    try:
        async with asyncio.timeout(DEADLINE_S):
            stream = await transport.open()
            try:
                started_s = time.perf_counter()
                await stream.send(message)
                answer = await stream.receive()
                elapsed_s = time.perf_counter() - started_s
            finally:
                await stream.close()
    except TimeoutError:
        raise DeadlineError(
            f"one exchange with the verifier took longer than {DEADLINE_S:g} s; the link is too slow to be measured."
        ) from None
    if not isinstance(answer, Opened):
        raise UnavailableError(f"the verifier answered an opening with {type(answer).__name__}; expected Opened. Upgrade the older side.")
    return _Exchange(elapsed_s, stream.traffic.bytes_up, stream.traffic.bytes_down, answer)
