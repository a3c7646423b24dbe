"""A scenario: one experiment's settings as a TOML file, with a grid if many are meant. Reads, expands nothing, runs nothing.

What can be refused without opening other files is refused when it is parsed; `orchestration.material` refuses what a recording cannot
answer.
"""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from airdraft import rules
from airdraft.errors import AirdraftError, SettingsError
from airdraft.settings import Settings, unknown
from cloud.settings import VerifierSettings
from edge.drafters import DRAFTERS
from edge.schedules import SCHEDULES
from edge.settings import DeviceSettings
from edge.stopping import STOPPING_RULES
from orchestration.link.reports import ReportSettings
from orchestration.link.settings import LinkSettings
from orchestration.machines import MachinesSettings
from orchestration.simulation.link import ConnectionSettings
from orchestration.workload import WorkloadSettings

RECORDED = "recording"  # the drafter that answers from a recording
LONGEST_SEARCH = 16
Baseline = Literal["stream", "device", "sequential", "local"]
BASELINES: tuple[Baseline, ...] = ("stream", "device", "sequential", "local")
FILE_KEYS = ("link.trace", "machines.device", "machines.verifier", "workload.recording", "workload.prompts")


class SweepSettings(Settings):
    """How a grid is run."""

    baselines: tuple[Baseline, ...] = Field(BASELINES, description="rows beside the grid's own")
    draft_lengths: tuple[int, ...] = Field(
        tuple(range(1, LONGEST_SEARCH + 1)), description="among which the best fixed one is searched, for sequential and local"
    )
    journals: bool = Field(False, description="keep a journal of every round of every cell: large")

    @field_validator("draft_lengths")
    @classmethod
    def _usable(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if not lengths or min(lengths) < 1:
            raise ValueError("expected one draft length or more, each at least 1")
        return tuple(sorted(set(lengths)))


class Scenario(Settings):
    """Devices, their link, the verifiers, and what is asked of them.

    In a simulation times are virtual, and machines take what their profiles say; on a cluster both are real.
    """

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="also of the run's folder")
    devices: int = Field(1, ge=1, le=100_000)
    verifiers: int = Field(1, ge=1, le=1000, description="devices are shared out over them in turn")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything random: link, arrivals, think times, pauses before a new attempt")
    device: DeviceSettings = DeviceSettings()
    verifier: VerifierSettings = VerifierSettings()
    link: LinkSettings = LinkSettings()
    connection: ConnectionSettings = ConnectionSettings()
    reports: ReportSettings | None = Field(None, description="what the modem says of the channel; left out: the device only measures")
    machines: MachinesSettings = MachinesSettings()
    workload: WorkloadSettings
    horizon_s: float = Field(
        7 * 86_400.0, gt=0, le=365 * 86_400.0, description="virtual time, real on a cluster, at which a cell that has not ended is given up"
    )
    grid: dict[str, list[Any]] = Field(default_factory=dict, description="a sweep: dotted keys of the above, each with its values")
    sweep: SweepSettings = SweepSettings()

    @model_validator(mode="before")
    @classmethod
    def _draft_from_the_recording(cls, values: Any) -> Any:
        """With recordings, and no drafter named, the recorded one drafts."""
        if not isinstance(values, dict) or not isinstance(values.get("device", {}), dict):
            return values
        workload = values.get("workload")
        if not isinstance(workload, dict) or not workload.get("recording"):
            return values
        recording = workload["recording"]
        device = {"drafter": {"kind": RECORDED}, **values.get("device", {})}
        listed = [recording] if isinstance(recording, str | Path) else recording
        return {**values, "device": device, "workload": {**workload, "recording": listed}}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _check_names(self.device)
        fault = _impossible(self)
        if fault:
            raise ValueError(fault)
        return self

    @property
    def replayed(self) -> bool:
        """Whether recordings answer in place of models."""
        return bool(self.workload.recording)

    @property
    def fixed_draft_length(self) -> int | None:
        """k of drafts of one length; None for any other policy."""
        return self.device.draft_length if self.device.stopping == "fixed" and self.device.schedule != "stream" else None


def _check_names(device: DeviceSettings) -> None:
    """Names of policies that nobody knows, before anything runs."""
    known = {"drafter.kind": [*DRAFTERS, RECORDED], "stopping": list(STOPPING_RULES), "schedule": list(SCHEDULES)}
    given = {"drafter.kind": device.drafter.kind, "stopping": device.stopping, "schedule": device.schedule}
    for key, name in given.items():
        if name not in known[key]:
            raise ValueError(f"device.{unknown(key, name, known[key])}")
    try:
        rules.parameters(device.rule_choice)
    except AirdraftError as error:
        raise ValueError(f"device.rule: {error.message}") from None


def _impossible(scenario: Scenario) -> str | None:
    """Why these settings cannot go together, if they cannot."""
    device, traits = scenario.device, rules.traits(scenario.device.rule)
    if scenario.replayed and traits.needs_rows:
        return f"device.rule {device.rule!r} needs the drafter's probabilities, which recordings do not hold; use 'exact', or real models"
    if scenario.replayed and not traits.lossless:
        return f"device.rule {device.rule!r} is lossy: its text leaves the recorded one; use 'exact', or real models"
    if scenario.replayed and device.drafter.kind == "model":
        return "device.drafter.kind 'model' with a recording; use 'recording', or give workload.prompts in place of workload.recording"
    if scenario.replayed and device.fallback.then == "alone":
        return "device.fallback.then 'alone' leaves the recorded text; use 'wait' or 'stop', or real models"
    if not scenario.replayed and device.drafter.kind == RECORDED:
        return "device.drafter.kind 'recording' without workload.recording; name the recording, or another drafter"
    if not scenario.replayed and scenario.verifier.model is None:
        return "workload.prompts needs real models: set verifier.model.model (and device.drafter), or give workload.recording"
    length = scenario.fixed_draft_length
    if length is not None and length > scenario.verifier.max_draft:
        granted = scenario.verifier.max_draft
        return f"device.draft_length {length} is more than verifier.max_draft {granted} grants; lower one or raise the other"
    return None


def read_scenario(path: Path) -> Scenario:
    """A scenario or sweep from its TOML file. Relative paths in it count from the file's own folder.

    Raises SettingsError that names every fault and where it stands.
    """
    return Scenario.parse(read_values(path), str(path))


def read_values(path: Path) -> dict[str, Any]:
    """The file's plain values (TOML, or JSON by its name), its paths made absolute. Raises SettingsError when it cannot be read."""
    try:
        text = path.read_text()
        values: dict[str, Any] = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:  # both formats' errors, and bytes that are no text, are ValueErrors
        raise SettingsError(f"{path}: {error}. Expected a readable TOML file.") from error
    values.setdefault("name", path.stem)
    return absolute(values, path.parent.resolve())


def absolute(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A copy of plain values whose relative paths, in the grid too, count from `folder`."""
    result = copy.deepcopy(values)
    for key in FILE_KEYS:
        edit(result, key, lambda value: _joined(value, folder))
    grid = result.get("grid")
    if isinstance(grid, dict):
        for key, options in grid.items():
            if isinstance(options, list):
                grid[key] = [_absolute_option(key, option, folder) for option in options]
    return result


def changed(values: dict[str, Any], changes: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A copy with other values at dotted keys; relative paths among them count from `folder`. Raises SettingsError."""
    result = copy.deepcopy(values)
    for key, value in changes.items():
        put(result, key, _absolute_option(key, value, folder))
    return result


def put(plain: dict[str, Any], dotted: str, value: Any) -> None:
    """Set the value at a dotted key in place. Raises SettingsError when the way there leads through a value that is no table."""
    *path, last = dotted.split(".")
    holder: Any = plain
    for step in path:
        holder = holder.setdefault(step, {})
        if not isinstance(holder, dict):
            raise SettingsError(f"{dotted!r} cannot be set, since {step!r} is a value, not a table. Correct the key.")
    holder[last] = copy.deepcopy(value)


def _absolute_option(key: str, option: Any, folder: Path) -> Any:
    if key in FILE_KEYS:
        return _joined(option, folder)
    holder = {"": option}
    for file_key in FILE_KEYS:
        if file_key.startswith(f"{key}."):
            edit(holder, "." + file_key.removeprefix(f"{key}."), lambda value: _joined(value, folder))
    return holder[""]


def edit(values: Any, dotted: str, change: Any) -> None:
    """Change the value at a dotted key in place, if it is there."""
    *path, last = dotted.split(".")
    for step in path:
        values = values.get(step) if isinstance(values, dict) else None
    if isinstance(values, dict) and last in values:
        values[last] = change(values[last])


def _joined(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_joined(item, folder) for item in value]
    return str(folder / value) if isinstance(value, str) else value


def files(scenario: Scenario) -> tuple[Path, ...]:
    """All files that the scenario names, each once."""
    named = (scenario.link.trace, scenario.machines.device, scenario.machines.verifier, scenario.workload.prompts)
    return tuple(dict.fromkeys((*scenario.workload.recording, *(path for path in named if path is not None))))


def check_files(scenario: Scenario) -> None:
    """Raises SettingsError for the first file that is missing."""
    for path in files(scenario):
        if not path.is_file():
            raise SettingsError(
                f"scenario {scenario.name!r}: there is no file {path}. Correct the path; it counts from the scenario's folder."
            )
