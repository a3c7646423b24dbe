"""What devices are asked to do and when: which prompts, in which order, how they arrive, how long their users think in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from airdraft.errors import SettingsError
from airdraft.settings import Settings, unknown


class WorkloadSettings(Settings):
    """Prompts come from a recording, or from a prompt file when real models answer them."""

    recording: tuple[Path, ...] = Field((), description="recordings to replay, all of the same models and settings")
    prompts: Path | None = Field(None, description="a JSONL file of prompts, for real models")
    tasks: tuple[str, ...] = Field((), description="only these tasks; none: all")
    count: int | None = Field(None, ge=1, description="at most so many prompts, shared out evenly over the tasks")
    responses: int | None = Field(
        None, ge=1, description="of each device; left out: every prompt once with one device, one each in a fleet"
    )
    arrivals: Literal["together", "poisson", "every"] = Field("together", description="when devices start their first response")
    arrivals_per_s: float | None = Field(None, gt=0, le=1e6, description="poisson: mean rate, all devices together")
    every_s: float | None = Field(
        None,
        ge=0,
        le=86_400,
        description="every: pause from one device's arrival to the next; with one device, between the starts of its responses",
    )
    think_s: float = Field(0.0, ge=0, le=86_400, description="mean of the exponential pause between a device's responses")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if bool(self.recording) == (self.prompts is not None):
            raise ValueError("give either recording (files to replay) or prompts (a file for real models)")
        for key, kind in (("arrivals_per_s", "poisson"), ("every_s", "every")):
            if (self.arrivals == kind) != (getattr(self, key) is not None):
                raise ValueError(f"{key} belongs to arrivals = {kind!r} and must be given with it")
        return self


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its tokens, and how a record names it."""

    name: str
    task: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """One response that a device is to make: not before `earliest_s`, and after a pause behind the one before."""

    prompt: int  # number in the selected prompts
    earliest_s: float
    pause_s: float

    async def come(self, began_s: float = 0.0) -> None:
        """Wait until it is due; call it once the one before has ended. `began_s`: the loop's time when all began."""
        await asyncio.sleep(self.pause_s)
        await until(began_s + self.earliest_s)


async def until(moment_s: float) -> None:
    """Wait for a moment of the running loop's time."""
    wait_s = moment_s - asyncio.get_running_loop().time()
    if wait_s > 0:
        await asyncio.sleep(wait_s)


def select(prompts: Sequence[Prompt], settings: WorkloadSettings) -> tuple[int, ...]:
    """Numbers of the prompts that the settings choose, in the order of the file.

    Raises SettingsError for a task that no prompt has, or when there are no prompts at all.
    """
    known = list(dict.fromkeys(prompt.task for prompt in prompts))
    for task in settings.tasks:
        if task not in known:
            raise SettingsError(unknown("task", task, known))
    chosen = [number for number, prompt in enumerate(prompts) if not settings.tasks or prompt.task in settings.tasks]
    if not chosen:
        raise SettingsError("no prompts: the recording or prompt file is empty. Give one that has some.")
    if settings.count is None or settings.count >= len(chosen):
        return tuple(chosen)
    return tuple(sorted(_evenly({task: [n for n in chosen if prompts[n].task == task] for task in known}, settings.count)))


def _evenly(by_task: dict[str, list[int]], count: int) -> list[int]:
    """One of each task in turn, until there are `count`."""
    queues = [list(numbers) for numbers in by_task.values() if numbers]
    taken: list[int] = []
    while len(taken) < count:
        for queue in queues:
            if queue and len(taken) < count:
                taken.append(queue.pop(0))
    return taken


def plan(settings: WorkloadSettings, devices: int, prompts: int, seed: int) -> tuple[tuple[Turn, ...], ...]:
    """The turns of each device. The same seed makes the same plan; a device's own does not depend on how many others there are."""
    arrivals = _arrivals(settings, devices, seed)
    each = settings.responses or (prompts if devices == 1 else 1)
    return tuple(_turns(settings, Share(device, devices, prompts, each), arrivals[device], seed) for device in range(devices))


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of the prompts is one device's: every `devices`-th, starting with its own number, round and round."""

    device: int
    devices: int
    prompts: int
    responses: int

    def prompt(self, number: int) -> int:
        """The prompt of its response of that number."""
        return (self.device + number * self.devices) % self.prompts


def _turns(settings: WorkloadSettings, share: Share, arrival_s: float, seed: int) -> tuple[Turn, ...]:
    draw = random.Random(f"think/{seed}/{share.device}")
    paced_s = (settings.every_s or 0.0) if share.devices == 1 else 0.0
    turns = []
    for number in range(share.responses):
        pause_s = draw.expovariate(1 / settings.think_s) if settings.think_s and number else 0.0
        turns.append(Turn(share.prompt(number), arrival_s + number * paced_s, pause_s))
    return tuple(turns)


def _arrivals(settings: WorkloadSettings, devices: int, seed: int) -> list[float]:
    if settings.arrivals == "every":
        return [device * (settings.every_s or 0.0) for device in range(devices)]
    if settings.arrivals_per_s is None:
        return [0.0] * devices
    draw = random.Random(f"arrivals/{seed}")
    now_s, times = 0.0, []
    for _ in range(devices):
        now_s += draw.expovariate(settings.arrivals_per_s)
        times.append(now_s)
    return times
