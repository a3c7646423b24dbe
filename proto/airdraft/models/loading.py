"""A model folder loaded as a torch module, ready to run; it sets nothing global (threads are the caller's)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airdraft.errors import CorruptModelError, ModelError, SettingsError
from airdraft.models.extras import demand
from airdraft.models.weights import check_weights
from airdraft.settings import ModelSettings

if TYPE_CHECKING:
    import torch


def load_model(folder: Path, settings: ModelSettings) -> torch.nn.Module:
    """The folder's causal model in `settings.dtype` on `settings.device`, in evaluation mode and without gradients.

    Raises CorruptModelError naming the damaged file, SettingsError for a device that is not there, ModelError otherwise.
    """
    torch_library = demand("torch")
    transformers = demand("transformers")
    device = _device(torch_library, settings.device)
    check_weights(folder)
    options = {"dtype": getattr(torch_library, settings.dtype), "local_files_only": True, "use_safetensors": True}
    try:
        with _quiet(transformers):
            model, findings = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(f"{folder} cannot be loaded by transformers {transformers.__version__}: {str(error)[:400]}") from error
    if missing := sorted(findings["missing_keys"]):
        raise CorruptModelError(f"{folder} lacks {len(missing)} weights, first {missing[0]!r}: it is incomplete. Get it again.")
    try:
        placed: torch.nn.Module = model.to(device).eval().requires_grad_(False)
    except RuntimeError as error:  # out of memory on the device, among others
        raise ModelError(f"{folder} cannot be put on {settings.device!r}: {str(error)[:300]}") from error
    return placed


def _device(torch_library: Any, name: str) -> Any:
    try:
        device = torch_library.device(name)
        torch_library.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            f"device {name!r} cannot be used here: {str(error).splitlines()[0]}. Expected 'cpu', or 'cuda' on a machine with a GPU."
        ) from error
    return device


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the library's bars and warnings for the while; as it was before, afterwards."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
