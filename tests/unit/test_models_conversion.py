"""A tiny GGUF file, written here, is really converted; the conversion's own process is run once."""

import errno
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
import transformers

from airdraft.errors import DiskFullError, InternalError, ModelError
from airdraft.models import cache, conversion, library, load_model, load_tokenizer, record, stop_tokens, vocabulary_size
from airdraft.models.progress import Silent
from airdraft.models.record import Provenance
from airdraft.settings import ModelSettings
from tests.tiny_wheels import RecordedProgress

TOKENS = [*"abcdefgh", "<|im_end|>", "ab", "abc", "[PAD11]"]
WIDTH = 32


def write_gguf(path: Path, **changes: str) -> dict[str, np.ndarray]:
    """A one-layer llama whose matrices are stored as Q8_0; returns its matrices as they are after de-quantisation."""
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    for add, value in (
        (writer.add_block_count, 1), (writer.add_context_length, 64), (writer.add_embedding_length, WIDTH), (writer.add_head_count, 2),
        (writer.add_feed_forward_length, WIDTH), (writer.add_head_count_kv, 1), (writer.add_layer_norm_rms_eps, 1e-6),
        (writer.add_rope_dimension_count, WIDTH // 2), (writer.add_vocab_size, len(TOKENS)), (writer.add_tokenizer_model, "gpt2"),
        (writer.add_tokenizer_pre, "default"), (writer.add_token_list, TOKENS), (writer.add_token_merges, ["a b", "ab c"]),
        (writer.add_token_types, [3 if token.startswith("<|") else 1 for token in TOKENS]),
        (writer.add_eos_token_id, 8), (writer.add_bos_token_id, 8),
    ):  # fmt: skip
        add(value)
    generator = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(TOKENS), WIDTH), "output": (len(TOKENS), WIDTH), "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (WIDTH // 2, WIDTH), "blk.0.attn_v": (WIDTH // 2, WIDTH), "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_gate": (WIDTH, WIDTH), "blk.0.ffn_up": (WIDTH, WIDTH), "blk.0.ffn_down": (WIDTH, WIDTH),
    }  # fmt: skip
    matrices = {}
    for name, shape in shapes.items():
        packed = gguf.quantize(generator.standard_normal(shape, dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        matrices[name] = gguf.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return matrices


@pytest.fixture(autouse=True)
def own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path / "cache"))


def provenance(version: str) -> Provenance:
    return Provenance("tiny", "tiny.gguf", "0" * 64, conversion.DTYPE, version)


def test_a_gguf_file_becomes_a_dense_bfloat16_folder(tmp_path: Path) -> None:
    matrices = write_gguf(tmp_path / "tiny.gguf")
    progress = RecordedProgress()
    folder = library.ensure(str(tmp_path / "tiny.gguf"), progress)

    model = load_model(folder, ModelSettings(model="tiny"))
    weights = model.state_dict()
    for ours, theirs in (("model.embed_tokens", "token_embd"), ("lm_head", "output"), ("model.layers.0.mlp.down_proj", "blk.0.ffn_down")):
        assert torch.equal(weights[f"{ours}.weight"], torch.from_numpy(matrices[theirs]).to(torch.bfloat16))
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    with torch.no_grad():
        assert model(torch.tensor([[1, 2]])).logits.isfinite().all()
    assert load_tokenizer(folder).encode("abcd", add_special_tokens=False) == [10, 3]
    assert (vocabulary_size(folder), stop_tokens(folder)) == (len(TOKENS), (8,))

    told = record.check_digests(folder)
    assert told.provenance.transformers == transformers.__version__
    assert "model.safetensors" in {file.name for file in told.files}
    assert progress.open == 0
    assert not list((tmp_path / "cache" / "unfinished").iterdir())


def converted_by(monkeypatch: pytest.MonkeyPatch, returncode: int, stdout: str = "", stderr: str = "") -> None:
    done = subprocess.CompletedProcess([], returncode, stdout, stderr)
    monkeypatch.setattr(conversion.subprocess, "run", lambda *_, **__: done)


@pytest.mark.parametrize(
    ("returncode", "stdout", "stderr", "error", "words"),
    [
        (1, 'noise\n{"code": "model.disk_full", "message": "the disk is full"}\n', "", DiskFullError, "the disk is full"),
        (-9, "", "", ModelError, "too little memory"),
        (1, "", "Traceback: it broke", ModelError, "it broke"),
        (1, '{"code": "no such code", "message": ""}', "", ModelError, "no reason"),
    ],
)
def test_a_conversion_that_fails_leaves_nothing_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, returncode: int, stdout: str, stderr: str, error: type[Exception], words: str
) -> None:
    converted_by(monkeypatch, returncode, stdout, stderr)
    destination = cache.ready_folder("tiny")
    with pytest.raises(error, match=words):
        conversion.convert(tmp_path / "tiny.gguf", destination, provenance, Silent())
    assert not destination.exists()
    assert not (cache.unfinished_folder("tiny") / "converted").exists()


def test_a_crash_before_the_rename_leaves_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "_convert_in_a_process", cut)
    with pytest.raises(KeyboardInterrupt):
        conversion.convert(tmp_path / "tiny.gguf", cache.ready_folder("tiny"), provenance, Silent())
    assert not cache.ready_folder("tiny").exists()


def test_a_conversion_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never(*_: object, **options: float) -> None:
        raise subprocess.TimeoutExpired("conversion", options["timeout"])

    monkeypatch.setattr(conversion.subprocess, "run", never)
    with pytest.raises(ModelError, match="longer than 3600 s"):
        conversion.convert(tmp_path / "tiny.gguf", cache.ready_folder("tiny"), provenance, Silent())


def test_the_room_is_checked_before_anything_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    (tmp_path / "out").mkdir()
    with pytest.raises(DiskFullError, match=r"converting tiny\.gguf needs 0\.10 GB"):
        conversion.convert_here(tmp_path / "tiny.gguf", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model" * 100])
def test_a_file_that_is_no_gguf_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tiny.gguf").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as a GGUF model"):
        conversion.convert_here(tmp_path / "tiny.gguf", tmp_path)


def test_an_architecture_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", architecture="nosuch")
    with pytest.raises(ModelError, match="cannot be read as a GGUF model"):
        conversion.convert_here(tmp_path / "tiny.gguf", tmp_path)


def test_weights_that_stayed_packed_are_never_written(tmp_path: Path) -> None:
    packed = torch.nn.Linear(2, 2).to(torch.float16)
    with pytest.raises(InternalError, match="float16, expected bfloat16"):
        conversion._require_dense(packed, tmp_path / "tiny.gguf")


def test_the_process_reports_its_error_as_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(conversion.sys, "argv", ["conversion", "a.gguf", str(tmp_path)])
    monkeypatch.setattr(conversion, "convert_here", full)
    with pytest.raises(SystemExit, match="1"):
        conversion.main()
    assert json.loads(capsys.readouterr().out)["code"] == "model.disk_full"
