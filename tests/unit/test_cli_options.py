from pathlib import Path

import pytest

from airdraft.errors import SettingsError, UnknownRuleError
from orchestration.cli.options import DEFAULT_DRAFTER, DeviceFlags, SettingsFlags, device_settings, parse_drafter
from orchestration.cli.serve import ServeFlags, cloud_settings


def test_without_flags_a_device_drafts_with_the_default_model() -> None:
    settings = device_settings(DeviceFlags())
    assert settings.drafter.kind == "model" and settings.drafter.model is not None
    assert f"model:{settings.drafter.model.model}" == DEFAULT_DRAFTER
    assert (settings.schedule, settings.draft_length, settings.rule, settings.fallback.then) == ("sequential", 4, "exact", "wait")


def test_a_device_that_only_streams_loads_no_drafter_unless_asked() -> None:
    assert device_settings(DeviceFlags(schedule="stream")).drafter.kind == "lookup"
    assert device_settings(DeviceFlags(schedule="stream", drafter="model:x")).drafter.kind == "model"


def test_no_drafter_means_empty_drafts() -> None:
    assert device_settings(DeviceFlags(drafter="none", draft_length=4)).draft_length == 0


def test_every_flag_arrives() -> None:
    flags = DeviceFlags(
        "model:m", 7, "stream", "speculative-sampling", ["row_width=8"], 0.5, 3, 0.9, 11, 12, "alone", "float32", "cpu", 1,
    )  # fmt: skip
    settings = device_settings(flags)
    assert settings.drafter.model is not None
    assert settings.drafter.model.model_dump() == {"model": "m", "dtype": "float32", "device": "cpu", "threads": 1}
    assert settings.sampling.model_dump() == {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 11}
    assert (settings.rule, settings.rule_parameters) == ("speculative_sampling", {"row_width": 8.0})
    assert (settings.draft_length, settings.max_new_tokens, settings.fallback.then) == (7, 12, "alone")


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "device.toml"
    file.write_text('draft_length = 6\nmax_new_tokens = 9\n[drafter]\nkind = "lookup"\n[sampling]\nseed = 5\ntop_k = 2\n')
    settings = device_settings(DeviceFlags(draft_length=3, seed=8, settings=file))
    assert (settings.draft_length, settings.max_new_tokens, settings.drafter.kind) == (3, 9, "lookup")
    assert (settings.sampling.seed, settings.sampling.top_k) == (8, 2)


@pytest.mark.parametrize(
    ("flags", "kind", "hint"),
    [
        (DeviceFlags(schedule="sequentiel"), SettingsError, "sequential"),
        (DeviceFlags(drafter="lokup"), SettingsError, "'lookup'"),
        (DeviceFlags(drafter="qwen2.5-coder-0.5b"), SettingsError, "model:qwen2.5-coder-0.5b"),
        (DeviceFlags(drafter="model"), SettingsError, "model:NAME"),
        (DeviceFlags(rule="exakt"), UnknownRuleError, "'exact'"),
        (DeviceFlags(rule="speculative-sampling", rule_parameters=["row_widht=3"]), UnknownRuleError, "'row_width'"),
        (DeviceFlags(rule_parameters=["row_width"]), SettingsError, "NAME=VALUE"),
        (DeviceFlags(temperature=-1.0), SettingsError, "sampling.temperature"),
        (DeviceFlags(fallback="hope"), SettingsError, "fallback.then"),
        (DeviceFlags(settings=Path("nowhere.toml")), SettingsError, "nowhere.toml"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(flags: DeviceFlags, kind: type[Exception], hint: str) -> None:
    with pytest.raises(kind, match=hint.replace(".", r"\.")):
        device_settings(flags)


def test_a_folder_given_as_drafter_is_shown_how_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"model:{tmp_path}"):
        parse_drafter(str(tmp_path))


def test_a_verifier_takes_its_flags_over_its_file(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('[verifier]\nslots = 3\ncontext = 512\n[verifier.model]\nmodel = "m"\nthreads = 2\n[server]\nport = 7\n')
    settings = cloud_settings(ServeFlags(listen=":0", context=256), SettingsFlags(dtype="float32", settings=file))
    assert settings.verifier.model is not None
    assert (settings.verifier.model.model, settings.verifier.model.threads, settings.verifier.model.dtype) == ("m", 2, "float32")
    assert (settings.verifier.slots, settings.verifier.context) == (3, 256)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 0)


def test_a_verifier_serves_the_default_model_and_refuses_unknown_keys(tmp_path: Path) -> None:
    settings = cloud_settings(ServeFlags(), SettingsFlags())
    assert settings.verifier.model is not None and settings.verifier.model.model == "qwen2.5-coder-1.5b"
    file = tmp_path / "cloud.toml"
    file.write_text("[verifier]\nslot = 3\n")
    with pytest.raises(SettingsError, match="slots"):
        cloud_settings(ServeFlags(), SettingsFlags(settings=file))
