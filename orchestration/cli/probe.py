"""What the link is like, from real exchanges that cost the verifier nothing: sessions that are over as soon as they are opened.

An Open whose response is already complete is answered at once, without a forward. A small one shows the round trip; a large
prompt up, and a large committed text that is resumed down, show the rates by how much longer they take.
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

EXCHANGES = 9
LARGE_EXCHANGES = 5
LARGE_TOKENS = 16_000  # at most; the verifier's context bounds it, too
DEADLINE_S = 20.0  # of one exchange
SIGNIFICANT = 2.0  # a transfer shows when it takes longer than so many deviations of a round trip


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
    count = min(LARGE_TOKENS, context_limit - 2)
    tokens = _dear_tokens(count, contract.vocabulary_size)
    large_up = Open(replace(small_contract, prompt=tokens), committed=contract.prompt[:1])
    up = [await _exchange(transport, large_up) for _ in range(LARGE_EXCHANGES)]
    large_down = Open(replace(small_contract, max_new_tokens=count), committed=tokens)
    down = [await _resumed(transport, large_down) for _ in range(LARGE_EXCHANGES)]
    times = [exchange.elapsed_s for exchange in small]
    middle_s = median(times)
    deviation_s = median(abs(each - middle_s) for each in times)
    return LinkFindings(
        middle_s,
        deviation_s,
        _rate(middle_s, deviation_s, up, [each.bytes_up for each in up]),
        _rate(middle_s, deviation_s, down, [each.bytes_down for each in down]),
    )


def _rate(round_trip_s: float, deviation_s: float, large: Sequence[_Exchange], sizes: Sequence[int]) -> Rate:
    transfer_s = median(each.elapsed_s for each in large) - round_trip_s
    size = int(median(sizes))
    if transfer_s <= max(SIGNIFICANT * deviation_s, 0.0005):
        return Rate(None, f"{size} bytes took no longer than the round trip's own variation")
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
