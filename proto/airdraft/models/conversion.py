"""A GGUF file turned, once, into a folder of bf16 safetensors, configuration and tokenizer.

The work is done in a process of its own (`python -m airdraft.models.conversion`), so that its memory is given back, and its
library's logging and global state stay out of the caller's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airdraft.errors import AirdraftError, InternalError, ModelError, every_error
from airdraft.models import cache
from airdraft.models.extras import demand
from airdraft.models.progress import Meter, Progress
from airdraft.models.record import Provenance, write_record
from airdraft.models.weights import check_weights

DEADLINE_S = 3600.0
DTYPE = "bfloat16"
TOKENIZER_BYTES = 32 << 20


def convert(source: Path, destination: Path, provenance: Callable[[str], Provenance], progress: Progress) -> None:
    """Make the folder `destination` from the GGUF file `source`, whole or not at all. `provenance` is asked with transformers' version.

    Raises DiskFullError, SettingsError when a library is missing, or ModelError when the file cannot be converted.
    """
    working = cache.unfinished_folder(destination.name) / "converted"
    shutil.rmtree(working, ignore_errors=True)
    cache.made(working)
    try:
        with Meter(progress, f"converting {source.name} to {DTYPE}", None):
            _convert_in_a_process(source, working)
        check_weights(working)
        write_record(working, provenance(str(demand("transformers").__version__)), progress)
        cache.made(destination.parent)
        working.rename(destination)
    except OSError as error:
        raise _disk_error(error, working) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _disk_error(error: OSError, folder: Path) -> AirdraftError:
    return cache.disk_full(error, f"{folder} was written") or ModelError(f"{folder} could not be written: {error}")


def _convert_in_a_process(source: Path, folder: Path) -> None:
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    importable = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "airdraft.models.conversion", str(source), str(folder)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **quiet, "PYTHONPATH": importable},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=DEADLINE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"converting {source} took longer than {DEADLINE_S:.0f} s and was ended.") from error
    if done.returncode != 0:
        raise _reported(source, done)


def _reported(source: Path, done: subprocess.CompletedProcess[str]) -> AirdraftError:
    """The error that the conversion's process ended with, as it raised it where possible."""
    lines = done.stdout.strip().splitlines()
    kinds = {kind.code: kind for kind in every_error()}
    try:
        report = json.loads(lines[-1])
        return kinds[report["code"]](report["message"])
    except (IndexError, ValueError, LookupError, TypeError):
        pass
    if done.returncode < 0:
        return ModelError(f"converting {source} was ended by signal {-done.returncode}; was there too little memory?")
    return ModelError(f"converting {source} failed: {done.stderr.strip()[-600:] or 'no reason was given'}")


def convert_here(source: Path, folder: Path) -> None:
    """Convert in this process, into the existing `folder`. Raises DiskFullError before it writes, or ModelError."""
    transformers = demand("transformers")
    demand("gguf")
    options: dict[str, Any] = {"gguf_file": source.name, "dtype": getattr(demand("torch"), DTYPE)}
    if hasattr(transformers, "GgufConfig"):  # newer ones may leave the weights packed unless told otherwise
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(source.parent, local_files_only=True, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    except Exception as error:  # a damaged file makes the reader fail in as many ways as there are bytes
        raise ModelError(f"{source} cannot be read as a GGUF model that transformers {transformers.__version__} knows: {error}") from error
    _require_dense(model, source)
    weights_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    cache.require_room(folder, weights_bytes + TOKENIZER_BYTES, f"converting {source.name}")
    model.hf_quantizer, model.is_quantized = None, False  # it refuses to be saved while it remembers the file's quantisation
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)


def _require_dense(model: Any, source: Path) -> None:
    """Refuse to write a model whose weights stayed packed: it would load as noise, or in another type than asked for."""
    kinds = {str(weight.dtype).removeprefix("torch.") for weight in model.parameters()}
    if kinds != {DTYPE}:
        raise InternalError(f"{source} was loaded with weights of {', '.join(sorted(kinds))}, expected {DTYPE} alone.")


def main() -> None:
    """The process's entry: `conversion GGUF FOLDER`; an error is printed as one line of JSON."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        convert_here(source, folder)
    except AirdraftError as error:
        print(json.dumps({"code": error.code, "message": error.message}))
        sys.exit(1)
    except OSError as error:
        fault = _disk_error(error, folder)
        print(json.dumps({"code": fault.code, "message": fault.message}))
        sys.exit(1)


if __name__ == "__main__":
    main()
