"""The options that commands share, and how they become settings. A flag that was given wins over the settings file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from airdraft.settings import ModelSettings
    from airdraft.transport import Transport
    from edge.settings import DeviceSettings

DEFAULT_TARGET = "qwen2.5-coder-1.5b"
DEFAULT_DRAFTER = "model:qwen2.5-coder-0.5b"
DRAFTER_KINDS = ("model:NAME", "lookup", "none", "random")

Cloud = Annotated[str, typer.Option("--cloud", envvar="AIRDRAFT_CLOUD", metavar="HOST:PORT", help="Verifiers, commas between.")]
CloudOrNot = Annotated[str | None, typer.Option("--cloud", envvar="AIRDRAFT_CLOUD", metavar="HOST:PORT", help="Verifiers, commas between.")]
Drafter = Annotated[
    str | None,
    typer.Option("--drafter", metavar="KIND", help="model:NAME, lookup, or none (the target's token alone).", show_default=DEFAULT_DRAFTER),
]
DraftLength = Annotated[int | None, typer.Option("--draft-length", metavar="K", help="Tokens of a draft.", show_default="4")]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule", metavar="NAME", help="sequential: draft, wait, repeat. stream: the cloud decodes alone.", show_default="sequential"
    ),
]
Rule = Annotated[str | None, typer.Option("--rule", metavar="NAME", help="exact or speculative-sampling.", show_default="exact")]
RuleParameters = Annotated[
    list[str] | None, typer.Option("--rule-parameter", metavar="NAME=VALUE", help="A parameter of the rule; may be repeated.")
]
Temperature = Annotated[float | None, typer.Option("--temperature", help="0: always the likeliest token.", show_default="0")]
TopK = Annotated[int | None, typer.Option("--top-k", help="0: off.", show_default="0")]
TopP = Annotated[float | None, typer.Option("--top-p", help="1: off.", show_default="1")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same text.", show_default="0")]
MaxNewTokens = Annotated[int | None, typer.Option("--max-new-tokens", metavar="N", help="Longest response.", show_default="256")]
Fallback = Annotated[
    str | None,
    typer.Option("--fallback", metavar="HOW", help="With the link gone: wait, stop, or go on alone, unverified.", show_default="wait"),
]
Tokenizer = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="NAME", help="Model or folder with the tokenizer, for a device without a drafting model."),
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="bfloat16, float32 or float16.", show_default="bfloat16")]
Hardware = Annotated[str | None, typer.Option("--device", help="cpu, or cuda.", show_default="cpu")]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads to compute with; 0: torch's own choice.", show_default="0")]
Tls = Annotated[
    bool | None, typer.Option("--tls/--no-tls", help="Default: TLS unless the verifier is on this machine.", show_default=False)
]
RootCertificates = Annotated[
    Path | None, typer.Option("--root-certificates", metavar="FILE", help="PEM file to trust instead of the system's certificates.")
]
RayAddress = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="The Ray cluster; default: RAY_ADDRESS, or Ray on this machine.")
]
Grace = Annotated[float, typer.Option("--grace", metavar="SECONDS", help="How long running responses may go on before they move.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", metavar="FILE.toml", help="Settings; a flag wins over the file.")]


@dataclass(frozen=True, slots=True)
class DeviceFlags:
    """A device's flags as given; None where one was not."""

    drafter: str | None = None
    draft_length: int | None = None
    schedule: str | None = None
    rule: str | None = None
    rule_parameters: list[str] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    max_new_tokens: int | None = None
    fallback: str | None = None
    dtype: str | None = None
    hardware: str | None = None
    threads: int | None = None
    settings: Path | None = None


def device_settings(flags: DeviceFlags) -> DeviceSettings:
    """The settings that the file and the flags add up to. Raises SettingsError or UnknownRuleError."""
    from airdraft import rules
    from edge import schedules, stopping
    from edge.settings import DeviceSettings

    values = DeviceSettings.read(flags.settings).model_dump(exclude_unset=True) if flags.settings else {}
    _merge(values, _from_flags(flags))
    _choose_drafter(values, flags)
    settings = DeviceSettings.parse(values, "options")
    schedules.build(settings.schedule)
    stopping.build(settings)
    rules.parameters(settings.rule_choice)
    return settings


def over_device_settings(base: DeviceSettings, flags: DeviceFlags) -> DeviceSettings:
    """The settings of a device that is there already, with the file's and the flags' over them, but for its drafter."""
    values = base.model_dump(exclude_unset=True)
    given = device_settings(flags).model_dump(exclude_unset=True)
    given.pop("drafter", None)
    _merge(values, given)
    return type(base).parse(values, "options")


def _from_flags(flags: DeviceFlags) -> dict[str, Any]:
    sampling = {name: getattr(flags, name) for name in ("temperature", "top_k", "top_p", "seed")}
    given: dict[str, Any] = {
        "draft_length": flags.draft_length,
        "schedule": flags.schedule,
        "rule": flags.rule.replace("-", "_") if flags.rule else None,
        "rule_parameters": dict(map(_parameter, flags.rule_parameters)) if flags.rule_parameters else None,
        "max_new_tokens": flags.max_new_tokens,
        "sampling": {name: value for name, value in sampling.items() if value is not None} or None,
        "fallback": {"then": flags.fallback} if flags.fallback else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _choose_drafter(values: dict[str, Any], flags: DeviceFlags) -> None:
    """A device that only shows what the cloud streams loads no drafter, unless one was asked for."""
    chosen = flags.drafter
    if chosen is None and "drafter" not in values:
        chosen = "none" if values.get("schedule") == "stream" else DEFAULT_DRAFTER
    if chosen is not None:
        values["drafter"] = parse_drafter(chosen)
        if chosen == "none":
            values["draft_length"] = 0
    model = values["drafter"].get("model")
    if isinstance(model, dict):
        hardware = {"dtype": flags.dtype, "device": flags.hardware, "threads": flags.threads}
        model.update({name: value for name, value in hardware.items() if value is not None})


def parse_drafter(text: str) -> dict[str, Any]:
    """`DrafterSettings` as plain values. Raises SettingsError that names the nearest kind, or shows how a model is written."""
    from airdraft.errors import SettingsError
    from airdraft.models import known_models
    from airdraft.settings import unknown

    kind, _, name = text.partition(":")
    if kind == "model" and name:
        return {"kind": "model", "model": {"model": name}}
    if text in ("lookup", "none"):  # without drafts, what proposes them does not matter
        return {"kind": "lookup"}
    if text == "random":
        return {"kind": "random"}
    if text in known_models() or Path(text).exists():
        raise SettingsError(f"drafter {text!r} is a model; write --drafter model:{text}")
    if kind == "model":
        raise SettingsError(f"drafter {text!r} names no model; write model:NAME, as in {DEFAULT_DRAFTER}")
    raise SettingsError(unknown("drafter", text, list(DRAFTER_KINDS)))


def _parameter(text: str) -> tuple[str, float]:
    from airdraft.errors import SettingsError

    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise SettingsError(f"--rule-parameter {text!r} cannot be used; expected NAME=VALUE with a number, as in row_width=16.") from None


@dataclass(frozen=True, slots=True)
class SettingsFlags:
    """Which model runs where, and the settings file beneath; None where a flag was not given."""

    model: str | None = None
    dtype: str | None = None
    hardware: str | None = None
    threads: int | None = None
    settings: Path | None = None

    def over(self, base: ModelSettings | None) -> ModelSettings:
        """The model's settings: the flags over what the file says. Raises SettingsError."""
        from airdraft.settings import ModelSettings

        values: dict[str, Any] = base.model_dump(exclude_unset=True) if base else {"model": DEFAULT_TARGET}
        given: dict[str, str | int | None] = {"model": self.model, "dtype": self.dtype, "device": self.hardware, "threads": self.threads}
        values.update({name: value for name, value in given.items() if value is not None})
        return ModelSettings.parse(values, "options")


def transport_to(cloud: str, tls: bool | None, root_certificates: Path | None) -> Transport:
    """A way to the verifier, or to several (addresses with commas between). Raises SettingsError for what cannot be used of these."""
    from edge.grpc_transport import GrpcSettings, GrpcTransport
    from edge.replicas import Replicas

    values = {"tls": tls, "root_certificates": root_certificates}
    settings = GrpcSettings.parse({name: value for name, value in values.items() if value is not None}, "options")
    addresses = [address.strip() for address in cloud.split(",")]
    for address in addresses:
        GrpcTransport(address, settings)  # connects to nothing, but refuses what could never be connected to
    return Replicas(addresses, lambda address: GrpcTransport(address, settings))


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            _merge(values[name], value)
        else:
            values[name] = value
