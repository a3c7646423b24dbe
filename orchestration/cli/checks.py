"""What `airdraft doctor` finds: one line per check, in words, and what to do about it."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from airdraft import __version__, models
from airdraft.errors import AirdraftError
from airdraft.messages import Description
from edge.settings import DrafterSettings

TORCH_EXTRA = 'pip install "airdraft[edge]"'


class Status(StrEnum):
    """How a check went. Only FAIL keeps something from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "not measured"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `advice` says what to do, empty when nothing needs doing."""

    name: str
    status: Status
    found: str
    advice: str = ""


def local_checks(drafter: DrafterSettings, served_model: str | None) -> Iterator[Check]:
    """What can be said of this machine alone."""
    yield Check("python", Status.OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    yield Check("airdraft", Status.OK, __version__)
    needs_model = drafter.kind == "model"
    yield library("torch", needed=needs_model)
    yield library("transformers", needed=True)
    yield library("grpc", needed=True)
    if "torch" in sys.modules:
        yield kernels()
    yield present_models()
    if drafter.model is not None:
        yield drafter_model(drafter.model.model)
        yield pair(drafter.model.model, served_model)


def library(name: str, *, needed: bool) -> Check:
    """Whether a library can be imported, and its version."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return Check(name, Status.FAIL if needed else Status.WARN, f"cannot be imported ({error})", TORCH_EXTRA)
    return Check(name, Status.OK, str(getattr(module, "__version__", "version unknown")))


def kernels() -> Check:
    """Whether the processor has fast bfloat16 kernels."""
    import torch

    from airdraft.packed_linear import can_pack

    threads = f"torch threads: {torch.get_num_threads()}"
    if torch.cuda.is_available():
        return Check("kernels", Status.OK, f"CUDA: {torch.cuda.get_device_name()}")
    if can_pack(torch.bfloat16, torch.device("cpu")):
        return Check("kernels", Status.OK, f"bfloat16 on this CPU ({torch.backends.cpu.get_cpu_capability()}), {threads}")
    return Check(
        "kernels", Status.WARN, "this CPU has no fast bfloat16 kernels", "use --dtype float32, which needs twice the memory but runs faster"
    )


def present_models() -> Check:
    """Which of the known models are on this machine."""
    here = [entry.name for entry in models.listing() if entry.present]
    return Check("models here", Status.OK, ", ".join(here) or "none of the known ones")


def drafter_model(reference: str) -> Check:
    """Whether the drafter's model is here."""

    def look() -> Check:
        folder = models.locate(reference)
        if folder is None:
            return Check("drafter", Status.FAIL, f"{reference} is not on this machine", f"airdraft models fetch {reference}")
        return Check("drafter", Status.OK, f"{reference} in {folder}")

    return _guarded("drafter", look)


def pair(drafter: str, target: str | None) -> Check:
    """Whether drafter and target mean the same by every token, as far as both are here."""

    def look() -> Check:
        drafter_folder = models.locate(drafter)
        target_folder = _located(target)
        if drafter_folder is None or target_folder is None:
            missing = drafter if drafter_folder is None else target or "the target"
            return Check("pair", Status.UNKNOWN, f"{missing} is not on this machine; the verifier's digest is compared when there is one")
        tokens = models.check_pair(drafter_folder, target_folder)
        return Check("pair", Status.OK, f"{drafter} and {target} share all {tokens} tokens and their merges")

    return _guarded("pair", look)


def served_tokenizer(digest: bytes, served: Description) -> Check:
    """Whether the verifier speaks of the device's tokens."""
    if digest == served.tokenizer_digest:
        return Check("tokenizer", Status.OK, f"the device's is the one of {served.model}")
    return Check(
        "tokenizer",
        Status.FAIL,
        f"the device's is not the one of {served.model}",
        "draft with a model of the target's family, or --drafter lookup",
    )


def verifier(served: Description) -> Check:
    """What the verifier says of itself."""
    load = served.load
    found = f"{served.model}, airdraft {served.software_version}, context {served.context_limit}, drafts up to {served.draft_limit}; "
    found += f"{load.sessions} of {load.session_limit} sessions"
    if load.draining:
        return Check("verifier", Status.FAIL, found + "; draining", "it takes nobody new: connect to another one")
    if load.sessions >= load.session_limit:
        return Check("verifier", Status.WARN, found, "it is full: try again later, or serve with more sessions")
    return Check("verifier", Status.OK, found)


def failed(name: str, error: AirdraftError) -> Check:
    """A check that ended in an error says what it says."""
    return Check(name, Status.FAIL, error.message)


def _located(reference: str | None) -> Path | None:
    try:
        return models.locate(reference) if reference else None
    except AirdraftError:
        return None  # the verifier's name for its model need not mean anything here


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except AirdraftError as error:
        return failed(name, error)
