import subprocess
import sys
from pathlib import Path

import pytest
import torch

import airdraft
from airdraft.errors import CorruptModelError, ModelError, SettingsError
from airdraft.models import chat_prompt, extras, load_model, load_tokenizer, locate
from airdraft.settings import ModelSettings
from tests.tiny_models import tiny_llama


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_llama().save_pretrained(folder)
    return folder


def test_a_folder_is_loaded_as_asked_and_ready_to_run(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    threads, gradients, default = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    model = load_model(saved, ModelSettings(model="tiny", dtype="bfloat16"))
    assert not model.training
    assert {(weight.dtype, weight.requires_grad, weight.device.type) for weight in model.parameters()} == {(torch.bfloat16, False, "cpu")}
    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()) == (threads, gradients, default)
    assert capfd.readouterr() == ("", "")


def test_in_float32_its_logits_are_those_that_were_saved(saved: Path) -> None:
    ids = torch.tensor([[1, 2, 3]])
    loaded = load_model(saved, ModelSettings(model="tiny", dtype="float32"))
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, tiny_llama()(ids).logits)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_refused(saved: Path, device: str) -> None:
    with pytest.raises(SettingsError, match=device):
        load_model(saved, ModelSettings(model="tiny", device=device))


def copied(saved: Path, folder: Path) -> Path:
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_truncated_weights_are_named(saved: Path, tmp_path: Path) -> None:
    weights = copied(saved, tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CorruptModelError, match=r"model\.safetensors"):
        load_model(tmp_path, ModelSettings(model="tiny"))


def test_a_missing_weight_is_not_replaced_by_noise(saved: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = copied(saved, tmp_path) / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(weights).items() if name != "model.norm.weight"}
    save_file(kept, weights, metadata={"format": "pt"})
    with pytest.raises(CorruptModelError, match=r"model\.norm\.weight"):
        load_model(tmp_path, ModelSettings(model="tiny"))


def test_an_architecture_that_nobody_knows_is_a_model_error(saved: Path, tmp_path: Path) -> None:
    (copied(saved, tmp_path) / "config.json").write_text('{"model_type": "no such thing"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(tmp_path, ModelSettings(model="tiny"))


def test_a_missing_library_is_named_with_what_to_install() -> None:
    with pytest.raises(SettingsError, match=r"airdraft\[edge\]"):
        extras.demand("no_such_library_of_ours")


def test_importing_the_package_imports_no_model_library() -> None:
    root = str(Path(airdraft.__file__).parents[1])
    program = (
        f"import sys; sys.path.insert(0, {root!r}); import airdraft.models as m; m.known_models()\n"
        "print(sorted({'torch', 'transformers', 'gguf', 'huggingface_hub', 'filelock'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.models
def test_the_small_model_says_where_paris_is() -> None:
    folder = locate("smollm2-135m")
    if folder is None:
        pytest.skip("smollm2-135m is not on this machine: airdraft models fetch smollm2-135m")
    tokenizer = load_tokenizer(folder)
    prompt = chat_prompt(tokenizer, [{"role": "user", "content": "What is the capital of France?"}])
    model = load_model(folder, ModelSettings(model="smollm2-135m", dtype="float32"))
    with torch.no_grad():
        text = model.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False)[0, len(prompt) :]
    assert "Paris" in tokenizer.decode(text)
