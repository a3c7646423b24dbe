"""A scenario as it runs on a cluster that is up: what the cluster decides is taken from it, and what contradicts it is refused. Pure."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airdraft.errors import SettingsError
from orchestration.cell import Cell, digest
from orchestration.cluster.reports import DeviceStatus, ReplicaStatus, Snapshot
from orchestration.cluster.settings import ClusterSettings
from orchestration.scenario import BASELINES, Baseline

MEASURABLE: tuple[Baseline, ...] = ("stream", "sequential")  # the others need target and drafter in one place, or no target
IGNORED = ("machines", "connection", "reports")  # of simulations: here machines, connections and radios are what they are


def placed(values: Mapping[str, Any], cluster: ClusterSettings, source: str) -> dict[str, Any]:
    """A scenario's plain values with the cluster's verifiers and drafters, and without what only a simulation has.

    Raises SettingsError for a recording, and for a value, in the grid too, that is another one than the cluster's.
    """
    result = copy.deepcopy(dict(values))
    if (result.get("workload") or {}).get("recording"):
        raise SettingsError(f"{source}: workload.recording answers in simulations only; give workload.prompts, a file of prompts.")
    for key in IGNORED:
        result.pop(key, None)
    for key, value in _decided(cluster).items():
        _check_grid(key, result.get("grid") or {}, source)
        *path, last = key.split(".")
        table = result
        for step in path:
            table = table.setdefault(step, {})
        for dotted, given, there in _differences(key, table.get(last), value):
            raise SettingsError(f"{source}: {dotted} is {given!r}, and {there!r} on this cluster; leave it out, or put up such a cluster.")
        table[last] = value
    sweep = result.setdefault("sweep", {})
    sweep["baselines"] = [baseline for baseline in sweep.get("baselines", BASELINES) if baseline in MEASURABLE]
    return result


def left_out(values: Mapping[str, Any]) -> list[str]:
    """What of a scenario has no effect on a cluster, by name."""
    unmeasured = [f"the baseline {name!r}" for name in (values.get("sweep") or {}).get("baselines", BASELINES) if name not in MEASURABLE]
    return [*(key for key in IGNORED if key in values), *unmeasured]


def check(cells: Sequence[Cell], cluster: ClusterSettings) -> None:
    """Raises SettingsError for cells that this cluster cannot measure."""
    if cluster.verifier.share_prefixes:
        raise SettingsError(
            "this cluster's verifiers keep prompts for who asks the same (verifier.share_prefixes), so that one policy would find what the "
            "one before has paid for; put up a cluster with verifier.share_prefixes = false."
        )
    for cell in cells:
        if cell.scenario.devices > cluster.devices.count:
            raise SettingsError(
                f"scenario {cell.scenario.name!r} asks for {cell.scenario.devices} devices, and this cluster has {cluster.devices.count}; "
                "ask for fewer, or put up more with devices.count."
            )
        if cluster.server.certificate_chain is not None and not cell.scenario.link.changes_nothing:
            raise SettingsError("links are emulated in the clear only, and this cluster's verifiers speak TLS; leave [link] out.")


def place_of(snapshot: Snapshot) -> str:
    """Digest of the cluster: its settings, and which machines at which addresses."""
    nodes = {(status.report.node.split()[0], status.report.machine) for status in snapshot.devices}
    nodes |= {(status.report.node.split()[0], status.report.machine) for status in snapshot.replicas}
    return digest({"settings": snapshot.settings.model_dump(mode="json", exclude={"report_s"}), "nodes": sorted(nodes)})


def machines(parts: Sequence[DeviceStatus] | Sequence[ReplicaStatus]) -> str:
    """What devices or verifiers run on, in words: each kind of machine once, with the number of nodes where there are several."""
    nodes = dict(sorted((status.report.node, status.report.machine) for status in parts))
    counts = Counter(nodes.values())
    return "; ".join(f"{count} × {name}" if count > 1 else name for name, count in counts.items())


def _decided(cluster: ClusterSettings) -> dict[str, Any]:
    """What a scenario cannot choose here, by its dotted keys."""
    return {
        "verifier": cluster.verifier.model_dump(mode="json"),
        "verifiers": cluster.replicas.count,
        "device.drafter": cluster.device.drafter.model_dump(mode="json"),
    }


def _check_grid(key: str, grid: Mapping[str, Any], source: str) -> None:
    for axis in grid:
        if f"{axis}.".startswith(f"{key}.") or f"{key}.".startswith(f"{axis}.") or axis.split(".")[0] in IGNORED:
            raise SettingsError(f"{source}: {axis} cannot vary on a cluster; take it out of the grid, or simulate.")


def _differences(key: str, given: Any, there: Any) -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys of what is given and is another value there."""
    if isinstance(given, Mapping) and isinstance(there, Mapping):
        for name, value in given.items():
            yield from _differences(f"{key}.{name}", value, there.get(name))
    elif given is not None and given != there:
        yield key, given, there
