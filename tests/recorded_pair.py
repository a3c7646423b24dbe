"""A tiny pair recorded over a dozen prompts, and the same pair live: both put behind the same devices, links and verifiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from airdraft.journal import ResponseRecord
from airdraft.messages import Contract
from airdraft.settings import ModelSettings, Sampling
from cloud.seams import Target
from cloud.settings import VerifierSettings
from edge import schedules
from edge.seams import Drafter
from edge.settings import DeviceSettings
from edge.stopping.fixed import Fixed
from orchestration.link import LinkSettings, build
from orchestration.recording.invariant_drafter import InvariantDrafter
from orchestration.recording.prompts import Prompt, PromptSet
from orchestration.recording.recorder import Pair, RecordingSettings, Source, header_of, load_pair, record, tokenize
from orchestration.recording.recording import Recording
from orchestration.recording.replay import RecordedDrafter, RecordedTarget, Repertoire
from orchestration.simulation import Air, Policy, Served, SimulatedDevice, SimulatedVerifier, run
from tests.prompts import BUILT_IN
from tests.simulated_worlds import PHONE, SERVER
from tests.tiny_pair import save_pair

PROMPTS = PromptSet(
    "tests", "none needed", "00", tuple(Prompt(f"prompt {i}", "odd" if i % 2 else "even", t) for i, t in enumerate(BUILT_IN[:12]))
)
GREEDY, SEEDED = Sampling(), Sampling(temperature=0.8, top_p=0.95, seed=11)


@cache
def _folder() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory()
    save_pair(Path(folder.name))
    return folder


def settings(sampling: Sampling = GREEDY, **changes: object) -> RecordingSettings:
    folder = Path(_folder().name)
    models = {name: ModelSettings(model=str(folder / f"tiny-{name}"), dtype="float32") for name in ("target", "drafter")}
    values: dict[str, object] = {"max_new_tokens": 24, "context": 512, "batch": 5, "sampling": sampling}
    return RecordingSettings(**models, **(values | changes))  # type: ignore[arg-type]  # the values are checked where they are read


@cache
def pair() -> Pair:
    return load_pair(settings())[0]


@cache
def sources() -> tuple[Source, ...]:
    return tokenize(PROMPTS.prompts, Path(_folder().name) / "tiny-target", "chat")


@cache
def recorded(sampling: Sampling = GREEDY, stop_tokens: tuple[int, ...] = ()) -> Recording:
    chosen = replace(pair(), stop_tokens=stop_tokens)
    with TemporaryDirectory() as folder:
        return record(chosen, header_of(chosen, settings(sampling), PROMPTS), sources(), Path(folder) / "tests.msgpack.z")


def frequent_token() -> int:
    """One that ends many of the greedy responses early when it is a stop token."""
    seen = Counter(token for entry in recorded().entries for token in {*entry.response[4:]})
    return seen.most_common(1)[0][0]


@cache
def live_pair() -> Pair:
    """Apart from the one that recorded."""
    return load_pair(settings(batch=4))[0]


def live(draft_length: int, contracts: Sequence[Contract], schedule: str = "sequential") -> list[ResponseRecord]:
    """Real models behind a verifier and a device."""
    return live_with(live_pair(), draft_length, contracts, schedule)


def live_with(pair: Pair, draft_length: int, contracts: Sequence[Contract], schedule: str = "sequential") -> list[ResponseRecord]:
    """The same with another pair."""
    return responses(pair.target, InvariantDrafter(pair.drafter), draft_length, contracts, schedule)


def replayed(recording: Recording, draft_length: int, contracts: Sequence[Contract], schedule: str = "sequential") -> list[ResponseRecord]:
    """The same from a recording."""
    repertoire = Repertoire([recording])
    return responses(RecordedTarget(repertoire, 4, 512), RecordedDrafter(repertoire), draft_length, contracts, schedule)


def responses(
    target: Target, drafter: Drafter, draft_length: int, contracts: Sequence[Contract], schedule: str = "sequential"
) -> list[ResponseRecord]:
    """One device's responses, one after the other, in virtual time."""
    return run(_responses(Served(target, contracts[0].model, contracts[0].tokenizer_digest), drafter, draft_length, contracts, schedule))


async def _responses(
    served: Served, drafter: Drafter, draft_length: int, contracts: Sequence[Contract], schedule: str
) -> list[ResponseRecord]:
    verifier = SimulatedVerifier(served, SERVER, VerifierSettings(slots=4, context=served.target.capacity))
    policy = Policy(drafter, Fixed(draft_length), schedules.build(schedule), DeviceSettings())
    device = SimulatedDevice("device", policy, PHONE, Air(build(LinkSettings(preset="5g")), seed=3), verifier.entry)
    try:
        return [await device.respond(f"prompt {number}", agreed) for number, agreed in enumerate(contracts)]
    finally:
        await device.close()
        await verifier.close()
