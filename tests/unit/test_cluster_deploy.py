"""The files in deploy/: valid by the schemas of their readers, true to the code, and documented with the commands that apply them."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shlex
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml

from cloud.server import ServerSettings
from orchestration.cli.application import application
from orchestration.cluster import placing
from orchestration.cluster.figures import DEVICE_FIGURES, REPLICA_FIGURES
from orchestration.cluster.settings import ANYWHERE, PLACE, ClusterSettings
from orchestration.scenario import read_values
from orchestration.sweep.grid import expand

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCHEMA = json.loads((ROOT / "tests" / "kuberay_schema.json").read_text())
FILES = (
    "cluster.toml", "cluster-sharded.toml", "cluster-experiment.toml",
    "cloud.Dockerfile", "device.Dockerfile", "compose.yaml", "compose.cluster.yaml",
    "airdraft-verifier.service", "ray-cluster.yaml", "kuberay/raycluster.yaml", "kuberay/rayjob.yaml", "grafana/airdraft.json",
)  # fmt: skip


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def validate(document: dict) -> None:
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{document['kind']}", "$defs": SCHEMA["$defs"]}).validate(document)


def of_ray(name: str) -> dict:
    return next(document for document in documents(name) if document["apiVersion"] == "ray.io/v1")


def cluster_spec(name: str) -> dict:
    spec = of_ray(name)["spec"]
    return spec.get("rayClusterSpec", spec)


MANIFESTS = ("kuberay/raycluster.yaml", "kuberay/rayjob.yaml")


@pytest.mark.parametrize("name", MANIFESTS)
def test_kuberay_takes_the_manifest(name):
    validate(of_ray(name))


def test_the_schema_itself_is_one_and_names_its_source():
    jsonschema.Draft202012Validator.check_schema({"$defs": SCHEMA["$defs"]})
    assert "ray-project/kuberay" in SCHEMA["source"]


def faults():
    def misspell(document):
        document["spec"]["rayClusterSpec"]["workerGroupSpec"] = document["spec"]["rayClusterSpec"].pop("workerGroupSpecs")

    def number(document):
        document["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0

    def unnamed(document):
        del document["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["groupName"]

    def no_head(document):
        del document["spec"]["rayClusterSpec"]["headGroupSpec"]

    def memory(document):
        document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "8 GB"

    def mode(document):
        document["spec"]["submissionMode"] = "Kubernetes"

    return [misspell, number, unnamed, no_head, memory, mode]


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.__name__)
def test_a_fault_planted_in_a_manifest_is_found(fault):
    document = copy.deepcopy(of_ray("kuberay/rayjob.yaml"))
    fault(document)
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_speaks_of_the_ray_that_is_tested_with_a_token_and_our_labels(name):
    spec = cluster_spec(name)
    assert spec["rayVersion"] == version("ray")
    assert spec["authOptions"]["mode"] == "token"
    places = [group["labels"][PLACE] for group in spec["workerGroupSpecs"]]
    assert set(places) <= {"cloud", "edge", ANYWHERE}


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_volume_that_is_mounted_is_there(name):
    spec = cluster_spec(name)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in pod.get("volumes", ())}
    claims = {document["metadata"]["name"] for document in documents(name) if document["kind"] == "PersistentVolumeClaim"}
    text = (DEPLOY / name).read_text()
    assert set(re.findall(r"claimName: (\S+)", text)) == claims


def test_ray_up_takes_the_cluster_file():
    ray = importlib.util.find_spec("ray")
    if ray is None or ray.origin is None:
        pytest.skip("Ray is not installed, whose schema this is")
    schema = json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    document = documents("ray-cluster.yaml")[0]
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"head_start_commands": []}, schema)
    assert all(PLACE in command for key in ("head_start_ray_commands", "worker_start_ray_commands") for command in document[key][1:])


def test_cluster_files_ask_for_what_they_say():
    settings = ClusterSettings.read(DEPLOY / "cluster.toml")
    assert (settings.replicas.count, settings.devices.count, settings.devices.links) == (2, 8, ("5g", "lte"))
    sharded = ClusterSettings.read(DEPLOY / "cluster-sharded.toml")
    assert (sharded.replicas.shards, sharded.gpus) == (2, 2)


def test_the_cluster_for_experiments_can_measure_the_links():
    settings = ClusterSettings.read(DEPLOY / "cluster-experiment.toml").completed()
    file = DEPLOY / "scenarios" / "links.toml"
    cells = expand(placing.placed(read_values(file), settings, str(file)), str(file), lambda scenario: 8)
    placing.check(cells, settings)
    assert len(cells) == 20


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cluster.yaml"])
def test_compose_files_name_images_that_are_built_here(name):
    composed = documents(name)[0]
    for service in composed["services"].values():
        assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in composed["volumes"]


def options_of(command: str) -> set[str]:
    found = typer.main.get_command(application).commands[command]
    return {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}


def commands_in(text: str) -> list[list[str]]:
    """Everything that is written as a call of airdraft, as words."""
    calls = re.findall(
        r"(?:^|[ /`])airdraft ((?:serve|up|down|status|generate|submit|sweep|chat) [^`#\n]*|(?:serve|up|down|status))(?=[`\n#]|$)", text
    )
    return [shlex.split(call.strip()) for call in calls]


def check_call(words: list[str]) -> None:
    known = options_of(words[0])
    for word in words[1:]:
        if word.startswith("--"):
            assert word.split("=")[0] in known, f"airdraft {' '.join(words)}: no option {word}"


def test_every_call_of_the_command_in_these_files_has_options_that_exist():
    calls = []
    for path in (*DEPLOY.glob("*"), *DEPLOY.glob("kuberay/*")):
        if path.is_file():
            calls += commands_in(path.read_text())
    for name in ("compose.yaml", "compose.cluster.yaml"):
        calls += [service["command"] for service in documents(name)[0]["services"].values() if "command" in service]
    assert len(calls) >= 8
    for call in calls:
        check_call(call)
    with pytest.raises(AssertionError):
        check_call(["up", "--no-such-option"])


def test_the_jobs_entry_point_is_a_command_with_options_that_exist():
    entry = shlex.split(of_ray("kuberay/rayjob.yaml")["spec"]["entrypoint"])
    assert entry[:3] == ["python", "-m", "orchestration.cli"]
    check_call(entry[3:])


def test_the_service_gives_the_server_longer_than_its_own_grace():
    unit = (DEPLOY / "airdraft-verifier.service").read_text()
    seconds = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1])
    assert seconds > ServerSettings().drain_grace_s
    assert "ExecStart=/opt/airdraft/bin/airdraft serve --settings" in unit


def test_the_dashboard_shows_figures_that_are_measured_and_leaves_none_out():
    text = (DEPLOY / "grafana" / "airdraft.json").read_text()
    panels = json.loads(text)["panels"]
    expressions = " ".join(target["expr"] for panel in panels for target in panel.get("targets", ()))
    shown = set(re.findall(r"ray_(airdraft_\w+)", expressions))
    figures = (*REPLICA_FIGURES, *DEVICE_FIGURES)
    offered = {figure.name + ("_total" if figure.grows else "") for figure in figures}
    assert shown <= offered, f"never measured: {shown - offered}"
    wanted = ("rounds", "accepted", "bytes_up", "bytes_down", "queued_rows", "sequences", "slots_in_use", "forward_seconds", "sessions")
    assert all(any(name.startswith(f"airdraft_{want}") for name in shown) for want in wanted)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_file_is_documented():
    text = (DEPLOY / "README.md").read_text()
    for name in FILES:
        assert f"`{name}`" in text, name
    known = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()}
    ours = {name for name in known if name.split("/")[0] not in ("profiles", "recordings", "scenarios", "traces", "README.md")}
    assert ours == set(FILES)
