"""A Ray cluster of two nodes on this machine, one for the cloud and one for the edge, as a program: `python -m tests.cluster_world`.

The end-to-end tests run it with a token of its own for Ray, and look afterwards whether it has left any process behind.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from airdraft.messages import Contract
from airdraft.settings import Sampling
from orchestration import assembly
from orchestration.cluster import names, ray_connection
from orchestration.cluster.deployment import Deployment
from orchestration.cluster.experiments import Experiments
from orchestration.cluster.remote_device import RemoteCrew
from orchestration.cluster.reports import ReplicaStatus, Snapshot
from orchestration.cluster.settings import PLACE, ClusterSettings

PATIENCE_S = 450.0  # for something to come true on a busy machine; only a failing test waits so long
STARTED_S = time.monotonic()


def tell(line: str) -> None:
    print(f"{time.monotonic() - STARTED_S:6.1f} s  {line}", flush=True)


def until(what: str, is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.1)


SWEEP = """
name = "measured"
devices = 2
[workload]
prompts = "prompts.jsonl"
responses = 2
[device]
max_new_tokens = 16
[grid]
"link.preset" = ["5g", "wifi"]
[sweep]
draft_lengths = [2]
"""
ROOM = "room_for_one_verifier"  # a resource of which each cloud node has one


def add_node(cluster: Cluster, place: str, room: int = 2) -> Any:
    resources = {ROOM: room} if place == "cloud" else {}
    labels = {PLACE: place}
    return cluster.add_node(num_cpus=16, labels=labels, resources=resources, include_dashboard=False, dashboard_agent_listen_port=0)


@contextmanager
def two_nodes(room: int) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """The cluster, and the node ids by place. The head is the cloud's node."""
    cluster = Cluster()
    try:
        yield cluster, {place: add_node(cluster, place, room).node_id for place in ("cloud", "edge")}
    finally:
        cluster.shutdown()


@dataclass
class World:
    """A deployment on the tiny pair, and what its texts must be."""

    folder: Path
    settings: ClusterSettings
    cluster: Deployment
    language: assembly.Language
    texts: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def contract(self, index: int) -> Contract:
        sampling = Sampling(temperature=float(index % 2), seed=index)
        device = self.settings.device.model_copy(update={"sampling": sampling})
        served = self.snapshot().replicas[0].report.served
        return assembly.build_contract(
            self.language.prompt(f"Prompt {index}: tell me of radio, radio, radio."), device, self.language, served
        )

    def snapshot(self) -> Snapshot:
        return self.cluster.snapshot()

    def named(self, name: str) -> ReplicaStatus:
        return next(status for status in self.snapshot().replicas if status.report.name == name)

    def begin(self, prompts: Sequence[int]) -> list[tuple[int, Any]]:
        """Ask the devices in turn."""
        devices = self.settings.devices.count
        return [(index, self.cluster.device(names.device(index % devices)).answer.remote(self.contract(index))) for index in prompts]

    def check(self, asked: Sequence[tuple[int, Any]]) -> int:
        """Every text equals the target's own; how many reconnections that took."""
        answers = ray.get([answer for _, answer in asked], timeout=PATIENCE_S)
        for (index, _), answer in zip(asked, answers, strict=True):
            assert answer.tokens == self.texts[index], f"prompt {index}: another text than the target's own"
        return sum(answer.statistics.reconnects for answer in answers)

    def under_way(self, tokens: float) -> None:
        """Wait until so many tokens more have been committed."""
        before = self.emitted()
        until(f"{tokens:g} more tokens", lambda: self.emitted() >= before + tokens)

    def host_of(self, device: str) -> ReplicaStatus:
        """The replica that has this device's session."""

        def found() -> list[ReplicaStatus]:
            snapshot = self.snapshot()
            addresses = {
                status.report.replica for status in snapshot.devices if status.report.name == device and status.state == "answering"
            }
            return [status for status in snapshot.replicas if status.report.address in addresses and status.report.served.load.sessions]

        seen: list[ReplicaStatus] = []
        until(f"{device} is at a replica", lambda: seen.extend(found()) or seen)
        return seen[0]

    def emitted(self) -> float:
        return sum(status.counts.get("emitted", 0.0) for status in self.snapshot().replicas)

    def all_serve(self) -> None:
        until(
            "all replicas serve",
            lambda: all(status.state == "serving" for status in self.snapshot().replicas) and not self.cluster.missing(),
        )

    def nothing_is_held(self) -> None:
        """No session and no slot is left at any replica, once leases are over."""

        def is_free() -> bool:
            return all(status.report.slots_in_use == 0 and status.report.served.load.sessions == 0 for status in self.snapshot().replicas)

        until("all slots and places are free", is_free)


def settings(folder: Path, chosen: argparse.Namespace) -> ClusterSettings:
    drafter: dict[str, Any] = {"kind": "lookup"}
    if chosen.drafter == "model":
        drafter = {"kind": "model", "model": {"model": str(folder / "tiny-drafter"), "dtype": "float32", "threads": 1}}
    return ClusterSettings.parse(
        {
            "verifier": {
                "model": {"model": str(folder / "tiny-target"), "dtype": "float32", "threads": 1},
                "slots": 6, "context": 1024, "lease_s": 5.0, "protected_s": 1.0, "share_prefixes": chosen.scenario != "small",
            },
            "server": {"host": "127.0.0.1", "port": 0},
            "replicas": {
                "count": 2, "shards": chosen.shards, "cpus": 0.5, "resources": {ROOM: 1 / chosen.shards}, "shard_deadline_s": 60,
                "start_deadline_s": PATIENCE_S,
            },
            "devices": {"count": chosen.devices, "cpus": 0.1, "links": ["5g", "lte"], "start_deadline_s": PATIENCE_S},
            "device": {"drafter": drafter, "max_new_tokens": chosen.tokens, "link": {"back_off_first_s": 0.05, "back_off_most_s": 1.0}},
        }
    )  # fmt: skip


def prepare(folder: Path) -> None:
    """The models, and what loads slowly; done while the nodes start."""
    from tests import references  # noqa: F401  # here for the same reason
    from tests.tiny_pair import save_pair

    save_pair(folder)


def put_up(folder: Path, chosen: argparse.Namespace, prompts: Sequence[int]) -> World:
    from tests.references import by_target

    parts = settings(folder, chosen)
    cluster = Deployment.put_up(parts, is_local=False, tell=tell)
    world = World(folder, parts, cluster, assembly.load_language(folder / "tiny-drafter"))
    target = assembly.open_whole(folder / "tiny-target", parts.verifier)
    world.texts = {index: by_target(target, world.contract(index)) for index in prompts}
    assert len(set(world.texts.values())) > len(prompts) // 2, "the prompts should have texts of their own"
    tell("the texts are known")
    return world


# --- what happens to it


def check_places(world: World, places: dict[str, str]) -> None:
    snapshot = world.snapshot()
    assert {status.report.node.partition("(")[2][:6] for status in snapshot.replicas} == {places["cloud"][:6]}
    assert {status.report.node.partition("(")[2][:6] for status in snapshot.devices} == {places["edge"][:6]}


def kill_verifier(world: World, prompts: Sequence[int]) -> None:
    asked = world.begin(prompts)
    world.under_way(20)
    victim = world.host_of(names.device(1))
    os.kill(victim.report.process_id, signal.SIGKILL)
    tell(f"killed {victim.report.name}")
    reconnects = world.check(asked)
    assert reconnects > 0
    tell(f"the same texts after {reconnects} reconnections")


def kill_shard(world: World, prompts: Sequence[int]) -> None:
    asked = world.begin(prompts)
    world.under_way(20)
    before = world.named(names.verifier(0))
    os.kill(before.report.shard_process_ids[0], signal.SIGKILL)
    tell("killed a shard of verifier-0")
    reconnects = world.check(asked)
    assert reconnects > 0
    until("verifier-0 is there again", lambda: world.named(names.verifier(0)).report.incarnation != before.report.incarnation)
    assert not is_alive(before.report.process_id)
    tell(f"the same texts after {reconnects} reconnections")


def kill_device(world: World, prompts: Sequence[int]) -> None:
    asked = world.begin(prompts)
    world.under_way(20)
    victim = next(status for status in world.snapshot().devices if status.state == "answering")
    os.kill(victim.report.process_id, signal.SIGKILL)
    tell(f"killed {victim.report.name}")
    world.check(asked)
    name, before = victim.report.name, victim.restarts
    until(f"{name} is there again", lambda: {status.report.name: status.restarts for status in world.snapshot().devices}[name] > before)
    world.nothing_is_held()
    tell("the same texts, and what the dead device held is free")


def drain_replica(world: World, prompts: Sequence[int]) -> None:
    asked = world.begin(prompts)
    world.under_way(20)
    busy = world.host_of(names.device(1))
    world.cluster.drain(busy.report.name, grace_s=0.0)
    tell(f"drained {busy.report.name}")
    assert world.cluster.missing() == [busy.report.name]
    reconnects = world.check(asked)
    assert reconnects > 0
    world.cluster.add(busy.report.name)
    tell(f"the same texts after {reconnects} reconnections")


def kill_node(world: World, cluster: Cluster, node: Any, prompts: Sequence[int]) -> None:
    """A whole node goes, with the verifier on it; that one comes back on another node once there is one."""
    asked = world.begin(prompts)
    world.under_way(20)
    victim = next(status for status in world.snapshot().replicas if node.node_id[:6] in status.report.node)
    cluster.remove_node(node, allow_graceful=False)
    tell(f"killed the node of {victim.report.name}")
    world.check(asked)
    tell("the same texts without it")
    fresh = add_node(cluster, "cloud", room=1)
    until(f"{victim.report.name} is on the new node", lambda: fresh.node_id[:6] in world.named(victim.report.name).report.node)
    world.all_serve()


def restart_directory(world: World, prompts: Sequence[int]) -> None:
    asked = world.begin(prompts)
    world.under_way(20)
    ray.kill(ray.get_actor(names.DIRECTORY, names.NAMESPACE), no_restart=False)
    tell("killed the directory")
    world.check(asked)
    until("the directory knows all again", lambda: len(world.snapshot().replicas) == 2)
    tell("the same texts, and it knows all again")


def check_metrics(wanted: Sequence[str]) -> None:
    """Prometheus would find these at the nodes."""
    ports = [node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]]

    def scraped() -> str:
        texts = []
        for port in ports:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    texts.append(answer.read().decode())
            except OSError:
                continue  # the agent may still be starting
        return "".join(texts)

    until(f"metrics {wanted}", lambda: all(f"ray_{name}{{" in scraped() for name in wanted))
    tell("the metrics are there")


def take_down(world: World) -> None:
    snapshot = world.snapshot()
    processes = [status.report.process_id for status in (*snapshot.replicas, *snapshot.devices)]
    processes += [process for status in snapshot.replicas for process in status.report.shard_process_ids]
    ports = [int(status.report.address.rpartition(":")[2]) for status in snapshot.replicas]
    world.cluster.take_down()
    assert ray.util.list_named_actors(all_namespaces=True) == []
    assert {group["state"] for group in ray.util.placement_group_table().values()} == {"REMOVED"}
    until("all processes have ended", lambda: not any(map(is_alive, processes)))
    assert not any(map(is_listening, ports))
    tell("nothing is left behind")


def is_alive(process_id: int) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure(world: World) -> None:
    """A sweep measured with the devices: every cell, both links, one text."""
    (world.folder / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": f"{index}, radio, radio"}) for index in range(4)))
    (world.folder / "sweep.toml").write_text(SWEEP)
    until("no device answers", lambda: all(status.state == "idle" for status in world.snapshot().devices))
    snapshot = world.snapshot()
    experiments = Experiments(RemoteCrew(world.cluster), snapshot, world.language, snapshot.replicas[0].report.served)
    outcome = experiments.run(world.folder / "sweep.toml", world.folder / "runs")
    assert not outcome.failures, outcome.failures
    for row in outcome.rows:
        assert (row["simulated"], row["failed"], row["responses"], row["devices"]) == (False, 0, 4, 2)
    assert {(row["kind"], row["link"]) for row in outcome.rows} >= {
        (kind, link) for kind in ("stream", "policy") for link in ("5g", "wifi")
    }
    tell(f"{len(outcome.rows)} cells measured, no text another")


def small(world: World, prompts: Sequence[int]) -> None:
    """Texts over a killed verifier, a measured sweep, and metrics."""
    kill_verifier(world, prompts)
    world.all_serve()
    measure(world)
    check_metrics(["airdraft_rounds_total", "airdraft_forward_seconds_total", "airdraft_sessions", "airdraft_device_tokens_total"])


def full(world: World, prompts: Sequence[int]) -> None:
    """Texts, and everything that can die, in turn."""
    reconnects = world.check(world.begin(prompts))
    tell(f"every text is the target's own ({reconnects} reconnections)")
    if world.settings.replicas.shards > 1:
        kill_shard(world, prompts)
        world.all_serve()
    kill_verifier(world, prompts)
    world.all_serve()
    kill_device(world, prompts)
    drain_replica(world, prompts)
    world.all_serve()
    restart_directory(world, prompts)
    world.nothing_is_held()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=["small", "full", "node"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--drafter", choices=["lookup", "model"], default="lookup")
    chosen = parser.parse_args()
    prompts = range(chosen.prompts)
    preparing = ThreadPoolExecutor(1).submit(prepare, chosen.folder)
    with two_nodes(room=1 if chosen.scenario == "node" else 2) as (cluster, places), ray_connection.connected(cluster.address):
        second = add_node(cluster, "cloud", room=1) if chosen.scenario == "node" else None
        tell("all nodes")
        preparing.result(PATIENCE_S)
        world = put_up(chosen.folder, chosen, prompts)
        if second is not None:
            kill_node(world, cluster, second, prompts)
        else:
            check_places(world, places)
            (small if chosen.scenario == "small" else full)(world, prompts)
        take_down(world)
    tell("done")


if __name__ == "__main__":
    main()
