"""Makes a recording of a pair of models over a prompt set; what is finished is kept, so that a recording cut short goes on where it was."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import Field

from airdraft import __version__
from airdraft import models as model_store
from airdraft.errors import SettingsError
from airdraft.models import record as model_record
from airdraft.models.digest import sha256_of
from airdraft.models.progress import Progress
from airdraft.settings import ModelSettings, Sampling, Settings
from cloud.target import TransformersTarget
from orchestration.recording.drafts import DraftRecorder
from orchestration.recording.entry import Entry
from orchestration.recording.prompts import Prompt, PromptSet
from orchestration.recording.recording import (
    Header,
    ModelIdentity,
    PromptSource,
    Recording,
    iter_objects,
    pack_entry,
    pack_header,
    unpack_entry,
    unpack_header,
    write_recording,
)
from orchestration.recording.responses import Terms, decode

Told = Callable[[int, int], None]  # prompts done, of how many


class RecordingSettings(Settings):
    """Which pair is recorded, and how."""

    target: ModelSettings
    drafter: ModelSettings
    sampling: Sampling = Sampling()
    max_new_tokens: int = Field(default=128, ge=1, le=100_000)
    draft_length: int = Field(default=16, ge=1, le=256, description="drafts of up to so many tokens are recorded from every position")
    context: int = Field(default=2048, ge=2, description="longest prompt and response together")
    batch: int = Field(default=16, ge=1, le=256, description="responses decoded at once; changes the time, never the tokens")
    template: str = Field(default="chat", pattern="^(chat|raw)$", description="a user's turn in the chat template, or as it stands")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Target and drafter, each behind the batch-invariant forward, and all that the header must say of them."""

    target: TransformersTarget
    drafter: TransformersTarget
    identities: tuple[ModelIdentity, ModelIdentity]
    tokenizer_digest: bytes
    stop_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A prompt as tokens."""

    name: str
    task: str
    tokens: tuple[int, ...]


def load_pair(settings: RecordingSettings, progress: Progress | None = None) -> tuple[Pair, Path]:
    """The two models, and the folder of the target's tokenizer. Raises ModelError, PairMismatchError or SettingsError."""
    folders = [model_store.ensure(model.model, progress) for model in (settings.target, settings.drafter)]
    model_store.check_pair(folders[1], folders[0])
    loaded = [model_store.load_model(folder, model) for folder, model in zip(folders, (settings.target, settings.drafter), strict=True)]
    pair = Pair(
        target=TransformersTarget(loaded[0], settings.batch, settings.context),
        drafter=TransformersTarget(loaded[1], 2 * settings.batch + 1, settings.context + settings.draft_length),
        identities=(identify(folders[0], settings.target), identify(folders[1], settings.drafter)),
        tokenizer_digest=model_store.tokenizer_digest(folders[0]),
        stop_tokens=model_store.stop_tokens(folders[0]),
    )
    return pair, folders[0]


def identify(folder: Path, settings: ModelSettings) -> ModelIdentity:
    """A model's name and digest: of the file it was converted from where that is known, else of its weights."""
    name = Path(settings.model).stem if Path(settings.model).exists() else settings.model
    if (folder / model_record.NAME).exists():
        digest = model_record.read_record(folder).provenance.sha256
    else:
        digest = ",".join(sha256_of(path) for path in sorted(folder.glob("*.safetensors")))
    return ModelIdentity(name, digest, settings.dtype, model_store.vocabulary_size(folder))


def tokenize(prompts: Sequence[Prompt], folder: Path, template: str) -> tuple[Source, ...]:
    """The prompts as the target reads them."""
    tokenizer = model_store.load_tokenizer(folder)

    def tokens(text: str) -> tuple[int, ...]:
        if template == "raw":
            return tuple(tokenizer.encode(text))
        return model_store.chat_prompt(tokenizer, [{"role": "user", "content": text}])

    return tuple(Source(prompt.name, prompt.task, tokens(prompt.text)) for prompt in prompts)


def header_of(pair: Pair, settings: RecordingSettings, prompts: PromptSet) -> Header:
    """What the recording will say of itself."""
    return Header(
        target=pair.identities[0],
        drafter=pair.identities[1],
        tokenizer_digest=pair.tokenizer_digest,
        stop_tokens=pair.stop_tokens,
        sampling=settings.sampling,
        max_new_tokens=settings.max_new_tokens,
        draft_length=settings.draft_length,
        prompts=PromptSource(prompts.name, prompts.licence, prompts.sha256, settings.template),
        versions=software(),
    )


def software() -> dict[str, str]:
    """Versions and instruction set: the last bits of a forward, and now and then a token, depend on them."""
    import torch
    import transformers

    return {
        "airdraft": __version__,
        "numpy": np.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def record(pair: Pair, header: Header, sources: Sequence[Source], output: Path, told: Told = lambda done, total: None) -> Recording:
    """Record every prompt, write the recording to `output`, and answer with it.

    What is finished stands in `output` + ".part" until then; a later call with the same header and prompts goes on from there.
    Raises SettingsError for a prompt that does not fit, or a part that was begun otherwise.
    """
    _refuse_misfits(pair, header, sources)
    part = output.with_name(output.name + ".part")
    done = _begun(part, header)
    missing = [source for source in sources if source.name not in done]
    told(len(sources) - len(missing), len(sources))
    with part.open("ab") as file:
        if not file.tell():
            _append(file, pack_header(header))
        for entry in _entries(pair, header, missing):
            _append(file, pack_entry(entry))
            done[entry.name] = entry
            told(len(done), len(sources))
    recording = Recording(header, tuple(done[source.name] for source in sources))
    write_recording(output, recording)
    part.unlink()
    return recording


def _entries(pair: Pair, header: Header, sources: Sequence[Source]) -> Iterator[Entry]:
    """As they are finished."""
    terms = Terms(header.sampling, header.stop_tokens, header.max_new_tokens)
    recorder = DraftRecorder(pair.drafter, header.target.vocabulary_size, header.draft_length)
    for number, response in decode(pair.target, [source.tokens for source in sources], terms):
        drafts = recorder.along(response, terms)
        yield Entry(
            name=sources[number].name,
            task=sources[number].task,
            prompt=response.prompt,
            finish=response.finish,
            target=response.tokens,
            drafter=drafts.rows,
            continuations=drafts.continuations,
            continuation_lengths=drafts.continuation_lengths,
        )


def _refuse_misfits(pair: Pair, header: Header, sources: Sequence[Source]) -> None:
    if len({source.name for source in sources}) != len(sources):
        raise SettingsError("two prompts have the same id; expected a different one for each. Rename one.")
    for source in sources:
        longest = len(source.tokens) + header.max_new_tokens
        if longest > pair.target.capacity:
            raise SettingsError(
                f"prompt {source.name!r} and its response take up to {longest} tokens; the context is {pair.target.capacity}. Raise it."
            )


def _begun(part: Path, header: Header) -> dict[str, Entry]:
    """The finished entries of a recording that was cut short, by name; the file is cut behind the last whole one."""
    if not part.exists():
        return {}
    data = part.read_bytes()
    objects = iter_objects(data, whole=False)
    first = next(objects, None)
    if first is None:
        part.unlink()
        return {}
    if pack_header(unpack_header(first)) != pack_header(header):
        raise SettingsError(f"{part} was begun with other models, settings, prompts or versions. Remove it, or choose another output.")
    entries = [unpack_entry(values, header) for values in objects]
    whole = len(pack_header(header)) + sum(len(pack_entry(entry)) for entry in entries)
    with part.open("r+b") as file:
        file.truncate(whole)
    return {entry.name: entry for entry in entries}


def _append(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
