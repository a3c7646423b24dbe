"""From settings to working parts: a verifier with its server on one side, a device with its session on the other.

It decides nothing that a setting could, and knows no command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airdraft import PROTOCOL_VERSION
from airdraft import models as model_store
from airdraft.clock import Clock, WallClock
from airdraft.errors import ModelError, SettingsError, TokenizerMismatchError
from airdraft.messages import Contract, Description
from airdraft.models.configuration import read_json
from airdraft.models.progress import Progress
from airdraft.settings import ModelSettings, Settings
from airdraft.transport import Transport
from cloud.seams import Target
from cloud.server import Server, ServerSettings
from cloud.service import Verification
from cloud.settings import VerifierSettings
from cloud.verifier import Verifier
from edge import drafters, schedules, stopping
from edge.link_meter import LinkMeter
from edge.seams import Drafter
from edge.session import Session
from edge.settings import DeviceSettings, DrafterSettings

DEFAULT_TARGET = "qwen2.5-coder-1.5b"
DEFAULT_DRAFTER = "qwen2.5-coder-0.5b"


class CloudSettings(Settings):
    """Everything about one verifier process: the tables `[verifier]`, `[verifier.model]` and `[server]` of a settings file."""

    verifier: VerifierSettings = VerifierSettings()
    server: ServerSettings = ServerSettings()


OpenTarget = Callable[[Path, VerifierSettings], Target]


@dataclass(slots=True)
class Cloud:
    """A verifier behind its server, not started yet. Close `clock` when both have stopped."""

    verifier: Verifier
    server: Server
    clock: WallClock
    model: str
    context: int


@dataclass(frozen=True, slots=True)
class Language:
    """What a device knows of text. It needs no weights: a folder with tokenizer.json, tokenizer_config.json and config.json will do."""

    folder: Path
    tokenizer: Any
    digest: bytes
    stop_tokens: tuple[int, ...]

    def prompt(self, text: str, raw: bool = False) -> tuple[int, ...]:
        """The prompt's token ids: a user's turn in the model's chat template, or the text as it stands.

        Raises SettingsError when there is no template.
        """
        if raw:
            return tuple(self.tokenizer.encode(text))
        return self.conversation([{"role": "user", "content": text}])

    def conversation(self, messages: Sequence[dict[str, str]]) -> tuple[int, ...]:
        """The token ids of a conversation, ready for its answer."""
        return model_store.chat_prompt(self.tokenizer, messages)

    def text(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """What the tokens say; markers such as the end of a turn only with `special`."""
        decoded: str = self.tokenizer.decode(list(tokens), skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        return decoded


def wait_passively() -> None:
    """Let threads that have nothing to compute sleep instead of spin, so that two torch processes can share the cores.

    Without it, each process's idle threads take the cores from the other's busy ones: with the Qwen pair on a busy two-core machine a
    draft of four took ten times as long. Takes effect only before torch is first imported. Values that the user has set stand.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def set_threads(threads: int) -> int:
    """Give torch so many threads (0: leave its own choice); how many it has now."""
    import torch  # here, so that a device that drafts without a model never loads it

    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def load_model(settings: ModelSettings, progress: Progress | None = None) -> tuple[Path, Any]:
    """The model's folder, fetched first if need be, and the model itself. Raises what `models.ensure` and `models.load_model` raise."""
    folder = model_store.ensure(settings.model, progress)
    set_threads(settings.threads)
    return folder, model_store.load_model(folder, settings)


# --- the cloud's side


def build_cloud(settings: CloudSettings, progress: Progress | None = None, open_target: OpenTarget | None = None) -> Cloud:
    """Load the target and put a verifier and a server before it. `open_target` is for a target that is more than a model in this process.

    Raises SettingsError or ModelError.
    """
    if settings.verifier.model is None:
        raise SettingsError("no model to serve: set verifier.model.model, or pass --model.")
    folder = model_store.ensure(settings.verifier.model.model, progress)
    verifier_settings = _fitted(settings.verifier, folder)
    target = (open_target or open_whole)(folder, verifier_settings)
    clock = WallClock("target")
    digest = model_store.tokenizer_digest(folder)
    name = _public_name(settings.verifier.model.model)
    verifier = Verifier(target, name, digest, clock, verifier_settings)
    return Cloud(verifier, build_server(verifier, settings.server), clock, name, verifier_settings.context)


def open_whole(folder: Path, settings: VerifierSettings) -> Target:
    """The model of a folder as a target in this process. Raises SettingsError or ModelError."""
    from cloud.target import TransformersTarget  # here, so that what needs no target never loads torch

    if settings.model is None:
        raise SettingsError("no model to serve: set verifier.model.model.")
    set_threads(settings.model.threads)
    return TransformersTarget(model_store.load_model(folder, settings.model), settings.slots, settings.context)


def build_server(verification: Verification, settings: ServerSettings) -> Server:
    """A server before a verifier (or whatever stands in for one)."""
    return Server(verification, settings)


def _fitted(settings: VerifierSettings, folder: Path) -> VerifierSettings:
    """A context that nobody asked for is no longer than the model was made for."""
    longest = read_json(folder / "config.json").get("max_position_embeddings")
    if "context" in settings.model_fields_set or not isinstance(longest, int) or longest >= settings.context:
        return settings
    return settings.model_copy(update={"context": longest})


def _public_name(reference: str) -> str:
    """What devices are told: never a path of this machine."""
    return Path(reference).stem if Path(reference).exists() else reference


# --- the device's side


def load_language(folder: Path) -> Language:
    """The tokenizer of a model folder. Raises ModelError or CorruptModelError."""
    tokenizer = model_store.load_tokenizer(folder)
    return Language(folder, tokenizer, model_store.tokenizer_digest(folder), model_store.stop_tokens(folder))


def find_language(served: Description, reference: str | None) -> Language:
    """The tokenizer for a device without a drafting model: `reference`, or whatever on this machine has the verifier's digest.

    Raises SettingsError when there is none, TokenizerMismatchError when `reference` is another one.
    """
    if reference is not None:
        language = load_language(model_store.ensure(reference))
        check_language(language, served)
        return language
    candidates = [served.model, *model_store.known_models()]
    for folder in filter(None, map(_located, candidates)):
        if model_store.tokenizer_digest(folder) == served.tokenizer_digest:
            return load_language(folder)
    raise SettingsError(
        f"the tokenizer of {served.model!r} is not on this machine. Name a folder that holds it with --tokenizer "
        f"(its weights are not needed), or get a model of that family, as in: airdraft models fetch {DEFAULT_DRAFTER}"
    )


def _located(reference: str) -> Path | None:
    try:
        return model_store.locate(reference)
    except ModelError:
        return None


def check_language(language: Language, served: Description) -> None:
    """Raises TokenizerMismatchError when the verifier speaks of other tokens."""
    if language.digest != served.tokenizer_digest:
        raise TokenizerMismatchError(
            f"the tokenizer in {language.folder} is not the one of {served.model!r}, which the verifier serves. "
            "Draft with a model of the same family, or connect to another verifier."
        )


def build_contract(prompt: Sequence[int], settings: DeviceSettings, language: Language, served: Description) -> Contract:
    """The contract for one response by this verifier."""
    return Contract(
        protocol_version=PROTOCOL_VERSION,
        model=served.model,
        tokenizer_digest=language.digest,
        vocabulary_size=served.vocabulary_size,
        prompt=tuple(prompt),
        sampling=settings.sampling,
        rule=settings.rule_choice,
        stop_tokens=language.stop_tokens,
        max_new_tokens=settings.max_new_tokens,
    )


@dataclass(frozen=True, slots=True)
class LoadedDrafter:
    """A drafter, and its model's folder when it has one."""

    drafter: Drafter
    folder: Path | None = None


def load_drafter(settings: DrafterSettings, progress: Progress | None = None) -> LoadedDrafter:
    """The drafter that the settings name, its model fetched first if need be. Raises SettingsError or ModelError."""
    if settings.kind != "model":
        return LoadedDrafter(drafters.build(settings))
    if settings.model is None:
        raise SettingsError("the drafter kind 'model' needs a model: set drafter.model, or choose another kind.")
    from airdraft.packed_linear import pack_linears  # here for the same reason as above

    folder, model = load_model(settings.model, progress)
    pack_linears(model)
    return LoadedDrafter(drafters.build(settings, model), folder)


def build_session(
    settings: DeviceSettings, drafter: Drafter, transport: Transport, clock: Clock, meter: LinkMeter | None = None
) -> Session:
    """A session as the settings say. Raises SettingsError for an unknown stopping rule or schedule."""
    return Session(
        drafter=drafter,
        stopping=stopping.build(settings),
        schedule=schedules.build(settings.schedule),
        transport=transport,
        clock=clock,
        settings=settings,
        meter=meter or LinkMeter(),
    )


@dataclass(slots=True)
class Device:
    """A drafter, a tokenizer and a way to one verifier: all that responses need."""

    settings: DeviceSettings
    drafter: Drafter
    language: Language
    served: Description
    transport: Transport
    clock: Clock
    meter: LinkMeter = field(default_factory=LinkMeter)

    def session(self, **changes: Any) -> Session:
        """A session under these settings, or with some of them changed. Link and drafter are shared, so one response at a time."""
        settings = self.settings.model_copy(update=changes)
        return build_session(settings, self.drafter, self.transport, self.clock, self.meter)

    def contract(self, prompt: Sequence[int], **changes: Any) -> Contract:
        """The contract for one response."""
        return build_contract(prompt, self.settings.model_copy(update=changes), self.language, self.served)


def build_device(
    settings: DeviceSettings, transport: Transport, served: Description, tokenizer: str | None = None, progress: Progress | None = None
) -> Device:
    """Load what the settings name, for the verifier that described itself as `served`. Raises SettingsError, ModelError, ContractError."""
    return assemble_device(settings, load_drafter(settings.drafter, progress), transport, served, tokenizer)


def assemble_device(
    settings: DeviceSettings, loaded: LoadedDrafter, transport: Transport, served: Description, tokenizer: str | None = None
) -> Device:
    """A device from parts. Close its `clock` when done; the transport stays its owner's.

    `tokenizer` is for a drafter without a model. Raises SettingsError when no tokenizer is found, TokenizerMismatchError for an unfit pair.
    """
    if loaded.folder is None:
        language = find_language(served, tokenizer)
    else:
        language = load_language(loaded.folder)
        check_language(language, served)
    return Device(settings, loaded.drafter, language, served, transport, WallClock("drafter"))
