"""A cluster's device as a program elsewhere uses it: the same questions as a device here, answered by its actor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airdraft.errors import SettingsError, UnavailableError
from airdraft.messages import Contract, Description
from edge.seams import Token
from edge.settings import DeviceSettings
from edge.statistics import ResponseStatistics
from orchestration.assembly import Language, build_contract
from orchestration.cluster import calls, names
from orchestration.cluster.deployment import Deployment
from orchestration.cluster.device import Answered, Behind
from orchestration.cluster.reports import Snapshot
from orchestration.cluster.settings import ClusterSettings

HANG_UP_S = 10.0


class RemoteSession:
    """Responses of one device, one at a time, as `edge.session.Session` gives them."""

    def __init__(self, device: Any, name: str, settings: DeviceSettings) -> None:
        self.statistics = ResponseStatistics()
        self._device = device
        self._name = name
        self._settings = settings

    async def generate(self, contract: Contract) -> AsyncGenerator[Token, None]:
        """The response's tokens as they come. Closing it hangs up at the device's next token. Raises as `Session.generate`."""
        with calls.in_our_words(self._name):
            tokens = self._device.stream.options(num_returns="streaming").remote(contract, self._settings)
            is_whole = False
            try:
                async for token in tokens:
                    yield await token
                is_whole = True
            finally:
                if not is_whole:
                    with suppress(Exception):  # it may be gone, which is why this is not whole
                        await self._control("hang_up")
                with suppress(Exception):
                    self.statistics = await self._control("last")

    def _control(self, method: str) -> Any:
        return getattr(self._device, method).options(concurrency_group=calls.CONTROL).remote()


class RemoteDevice:
    """One device of the cluster, and the tokenizer to talk to it with."""

    def __init__(self, device: Any, name: str, settings: DeviceSettings, language: Language, served: Description) -> None:
        self.name = name
        self.language = language
        self._device = device
        self._settings = settings
        self._served = served

    def session(self) -> RemoteSession:
        """A session at that device."""
        return RemoteSession(self._device, self.name, self._settings)

    def contract(self, prompt: Sequence[int]) -> Contract:
        """The contract for one response."""
        return build_contract(prompt, self._settings, self.language, self._served)


class RemoteCrew:
    """All devices of a cluster, for experiments (see `orchestration.cluster.measuring.Crew`)."""

    def __init__(self, cluster: Deployment) -> None:
        self._devices = [cluster.device(names.device(index)) for index in range(cluster.settings.devices.count)]

    async def answer(self, device: int, contract: Contract, settings: DeviceSettings, behind: Behind) -> Answered:
        """One whole response of the device of that number. Raises AirdraftError."""
        with calls.in_our_words(names.device(device)):
            answered: Answered = await self._devices[device].answer.remote(contract, settings, behind)
            return answered

    async def hang_up(self, devices: int) -> None:
        """End what the first so many devices have at work. Those that are gone have nothing."""
        for device in self._devices[:devices]:
            with suppress(Exception):
                async with asyncio.timeout(HANG_UP_S):
                    await device.hang_up.options(concurrency_group=calls.CONTROL).remote()


def served_by(snapshot: Snapshot) -> Description:
    """What the cluster's verifiers serve, also while they are silent. Raises UnavailableError when none has been heard of yet."""
    for replica in snapshot.replicas:
        return replica.report.served
    raise UnavailableError("no verifier of the cluster has been heard of yet. See: airdraft status")


def folder_here(settings: ClusterSettings) -> str | None:
    """The drafter's or the target's folder, where the cluster names one that is on this machine too: its tokenizer is what is needed."""
    named = [model.model for model in (settings.device.drafter.model, settings.verifier.model) if model is not None]
    return next((reference for reference in named if (Path(reference) / "config.json").exists()), None)


def choose(cluster: Deployment, snapshot: Snapshot, name: str | None) -> tuple[str, Any]:
    """The device of that name; without one, the first that is idle, else the first. Raises SettingsError when there are no devices."""
    if name is None:
        if not snapshot.devices:
            raise SettingsError("this cluster has no devices; set devices.count, or use --cloud with a verifier's address.")
        name = min(snapshot.devices, key=lambda device: ("idle", "answering", "silent").index(device.state)).report.name
    return name, cluster.device(name)
