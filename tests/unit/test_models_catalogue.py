import re

from airdraft.models.catalogue import by_reference, known_models


def test_the_catalogue_knows_the_pair_and_the_small_model() -> None:
    assert set(known_models()) == {"qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", "smollm2-135m"}


def test_every_entry_can_be_checked() -> None:
    for model in known_models().values():
        assert model.file.endswith(".gguf")
        assert 0 < model.bytes < model.converted_bytes
        assert model.wheels
        for digest in (model.sha256, *(wheel.sha256 for wheel in model.wheels)):
            assert re.fullmatch("[0-9a-f]{64}", digest)
    digests = [wheel.sha256 for model in known_models().values() for wheel in model.wheels]
    assert len(digests) == len(set(digests))


def test_a_model_is_found_by_name_in_any_case_and_by_hub_id() -> None:
    model = known_models()["smollm2-135m"]
    assert by_reference("SmolLM2-135M") is model
    assert by_reference(model.hub) is model
    assert by_reference("smollm2") is None
