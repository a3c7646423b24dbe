"""CLUSTER.toml: defaults that stand, faults that are named, and what each replica and device gets of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airdraft.errors import SettingsError
from orchestration.cluster.settings import ClusterSettings


def parse(**values):
    return ClusterSettings.parse(values)


def test_an_empty_file_is_one_verifier_of_the_default_pair():
    settings = parse().completed()
    assert (settings.replicas.count, settings.replicas.shards, settings.devices.count) == (1, 1, 0)
    assert settings.verifier.model.model and settings.device.drafter.model.model


def test_models_that_are_named_stand():
    settings = parse(verifier={"model": {"model": "a"}}, device={"drafter": {"kind": "lookup"}})
    assert settings.completed() == settings


def test_replicas_follow_on_the_ports_after_the_first_and_port_0_is_any():
    settings = parse(server={"port": 6000}, replicas={"count": 2})
    assert [settings.cloud(index, "10.0.0.5").server.port for index in range(2)] == [6000, 6001]
    assert parse(server={"port": 0}).cloud(3, "10.0.0.5").server.port == 0


def test_a_replica_serves_at_its_nodes_address_unless_a_host_is_given():
    assert parse().cloud(0, "10.0.0.5").server.host == "10.0.0.5"
    assert parse(server={"host": "0.0.0.0"}).cloud(0, "10.0.0.5").server.host == "0.0.0.0"


def test_devices_take_the_links_in_turn_and_differ_in_their_seeds():
    settings = parse(devices={"count": 3, "links": ["5g", {"preset": "lte", "seed": 7}]})
    links = [settings.devices.link(index) for index in range(3)]
    assert [(link.preset, link.seed) for link in links] == [("5g", 0), ("lte", 8), ("5g", 2)]
    assert parse().devices.link(0) is None


def test_resources_are_added_up():
    settings = parse(replicas={"count": 2, "shards": 3, "cpus": 2, "gpus": 1}, devices={"count": 4, "cpus": 0.25})
    assert (settings.cpus, settings.gpus) == (13, 6)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"replica": {}}, "Did you mean 'replicas'"),
        ({"replicas": {"count": 0}}, "replicas.count"),
        ({"replicas": {"shard": 2}}, "Did you mean 'shards'"),
        ({"devices": {"links": ["6g"]}}, "unknown link preset '6g'"),
        ({"server": {"port": 65530}, "replicas": {"count": 10}}, "leaves no ports"),
        ({"server": {"certificate_chain": "a", "private_key": "b"}, "devices": {"links": ["lte"]}}, "exclude each other"),
    ],
)
def test_faults_are_named(values, words):
    with pytest.raises(SettingsError, match=words):
        parse(**values)


def test_the_example_that_is_shipped_can_be_read():
    folder = Path(__file__).parents[2] / "deploy"
    files = sorted(folder.glob("cluster*.toml"))
    assert files
    for file in files:
        assert ClusterSettings.read(file).completed().replicas.count >= 1
