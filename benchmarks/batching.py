"""Whether sessions that share forwards are served faster than one after another: eight against one, on a small real model."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from benchmarks import local_cloud
from benchmarks.measurement import Report, Spread, ratio
from benchmarks.prompts import PROMPTS
from edge.settings import DeviceSettings, DrafterSettings
from orchestration.assembly import Device

MODEL = "smollm2-135m"
TOGETHER = 8
NEW_TOKENS = 64
BAR = 2.5


def run(quick: bool) -> Report:
    """Committed tokens per second of eight sessions together over those of one, in turns."""
    with local_cloud.cloud(MODEL, "bfloat16", 2, "--context", "512") as address:
        rates = asyncio.run(_take_turns(address, 2 if quick else 5))
    gains = {name: ratio(rates[name, TOGETHER], rates[name, 1]) for name in ("stream", "sequential")}
    rows = [(f"{name}, {count} together", Spread.of(values).text(), "") for (name, count), values in rates.items()]
    rows += [(f"gain, {name}", "", gain.text(digits=2)) for name, gain in gains.items()]
    return Report(
        name="batching",
        question=f"Tokens per second of {MODEL} in bf16 over loopback gRPC: one session, and {TOGETHER} together. "
        "`sequential` drafts four tokens by prompt lookup.",
        columns=("sessions", "tokens/s, median (min-max)", "ratio, median (min-max)"),
        rows=tuple(rows),
        figures={f"{name}_gain": gain.median for name, gain in gains.items()},
        headline=f"{gains['stream'].median:.1f}× streaming, {gains['sequential'].median:.1f}× drafting: the tokens per second of "
        f"{TOGETHER} sessions together over those of one",
        bar=f"{TOGETHER} together at least {BAR} times the tokens per second of one",
        met=all(gain.median >= BAR for gain in gains.values()),
    )


async def _take_turns(address: str, repeats: int) -> dict[tuple[str, int], list[float]]:
    settings = DeviceSettings(drafter=DrafterSettings(kind="lookup"), draft_length=4)
    rates: dict[tuple[str, int], list[float]] = {}
    async with AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(local_cloud.device(address, settings)) for _ in range(TOGETHER)]
        for turn in range(repeats + 1):
            for schedule in ("stream", "sequential"):
                for count in (1, TOGETHER):
                    rate = await _rate(devices[:count], schedule, turn)
                    if turn:  # the first turn warms up
                        rates.setdefault((schedule, count), []).append(rate)
    return rates


async def _rate(devices: list[Device], schedule: str, turn: int) -> float:
    prompts = [PROMPTS[(turn + index) % len(PROMPTS)] for index in range(len(devices))]
    started = time.perf_counter()
    responses = [
        local_cloud.respond(device.session(schedule=schedule), device, device.language.prompt(prompt), NEW_TOKENS)
        for device, prompt in zip(devices, prompts, strict=True)
    ]
    made = await asyncio.gather(*responses)
    return sum(len(tokens) for tokens in made) / (time.perf_counter() - started)
