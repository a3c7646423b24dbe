"""The figures as Ray's metrics, which every node offers to Prometheus. One object per process, set at each report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from orchestration.cluster.figures import DEVICE_FIGURES, REPLICA_FIGURES, Figure, growth
from orchestration.cluster.reports import DeviceReport, ReplicaReport

Report = TypeVar("Report", ReplicaReport, DeviceReport)


class RayGauges:
    """Metrics of one replica or one device, made when first set."""

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {}
        self._before: dict[str, float] = {}

    def set_replica(self, report: ReplicaReport) -> None:
        """Set all of a replica's figures."""
        self._set(REPLICA_FIGURES, report, {"replica": report.name, "model": report.served.model})

    def set_device(self, report: DeviceReport) -> None:
        """Set all of a device's figures."""
        self._set(DEVICE_FIGURES, report, {"device": report.name, "link": report.link})

    def _set(self, figures: Sequence[Figure[Report]], report: Report, named: dict[str, str]) -> None:
        tags = {key: _in_ascii(name) for key, name in named.items()}
        for figure in figures:
            metric = self._metric(figure, tuple(tags))
            if not figure.grows:
                metric.set(float(figure.read(report)), tags=tags)
            elif grown := growth(self._before, figure, report):
                metric.inc(grown, tags=tags)
                self._before[figure.name] = figure.read(report)

    def _metric(self, figure: Figure[Report], tags: tuple[str, ...]) -> Any:
        if figure.name not in self._metrics:
            from ray.util import metrics

            kind = metrics.Counter if figure.grows else metrics.Gauge
            self._metrics[figure.name] = kind(figure.name, figure.words, tag_keys=tags)
        return self._metrics[figure.name]


def _in_ascii(name: str) -> str:
    """Ray takes no other letters in a tag; a model's folder and a trace's file may have any."""
    return name.encode("ascii", "backslashreplace").decode()
