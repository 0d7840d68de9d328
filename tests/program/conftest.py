"""The real program, run once for each shape of stack and for edited copies of a stack's file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import deployment
from render.program import Run
from render.program import run_program as run
from settings import loading
from settings.loading import PROJECT, ROOT

Edit = Callable[[dict[str, Any]], None]

ENCRYPTED = {"secure": "v1:abcdefgh:0123456789"}
OPERATOR = {
    "mode": "operator",
    "url": "http://kube-prometheus-stack-prometheus.monitoring.svc:9090",
    "operatorLabels": {"release": "kube-prometheus-stack"},
}
RECEIVERS = {
    "alertmanager": {
        "receivers": [{"name": "oncall", "kind": "pagerduty"}],
        "critical": ["oncall"],
    },
    "alertmanagerSecrets": {"oncall": ENCRYPTED},
}
FEDERATION = {
    "replicas": 2,
    "federateFrom": [
        {"cluster": "eu", "url": "https://prometheus.eu.example.com", "stack": "prod-eu"}
    ],
}


def sections(**values: Any) -> Edit:
    """Replace sections of a stack's file; None removes one."""

    def edit(keys: dict[str, Any]) -> None:
        keys.update(values)
        for key in [key for key, value in keys.items() if value is None]:
            del keys[key]

    return edit


def with_federation(**prometheus: Any) -> Edit:
    return sections(prometheus={**FEDERATION, **prometheus})


# The stack's shipped file, and what is changed in it.
SHAPES: dict[str, tuple[str, Edit]] = {
    "dev": ("dev", sections()),
    "prod": ("prod", sections()),
    "native": (
        "prod",
        sections(
            crawlers={"expectedPods": 1000},
            telemetry={"nativeHistograms": True, "histogramSampling": 10, "buckets": [70, 9000]},
            prometheus={"scrapeInterval": "5s", "retention": "6d"},
        ),
    ),
    "shards": ("prod", with_federation(shards=2)),
    "tls": (
        "prod",
        sections(
            prometheus={**FEDERATION, "shards": 2},
            monitoring={"tls": {"issuer": {"name": "monitoring-ca", "kind": "ClusterIssuer"}}},
        ),
    ),
    "global": ("prod", sections(prometheus={**FEDERATION, "role": "global"}, istio=None)),
    "operator": ("dev", sections(prometheus=OPERATOR, alertmanager=None)),
    "operator-slack": ("dev", sections(prometheus=OPERATOR, **RECEIVERS)),
}


@pytest.fixture(scope="session")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Run `__main__.py` for a shape, once."""

    @functools.cache
    def run_shape(shape: str) -> Run:
        stack, edit = SHAPES[shape]
        folder = tmp_path_factory.mktemp(shape)
        return run(stack, edited_copy(folder, stack, edit) if shape != stack else shipped(stack))

    return run_shape


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, Edit], Path]:
    """Return the path of a copy of a stack's file, after `edit` changed its keys."""
    return functools.partial(edited_copy, tmp_path)


@pytest.fixture
def variant(edited: Callable[[str, Edit], Path]) -> Callable[..., Run]:
    """Run a stack with other sections than its shipped file has."""
    return lambda stack, **values: run(stack, edited(stack, sections(**values)))


def edited_copy(folder: Path, stack: str, edit: Edit) -> Path:
    document = yaml.safe_load(shipped(stack).read_text())
    own, others = {}, {}
    for key, value in document["config"].items():
        project, _, name = key.partition(":")
        (own if project == PROJECT else others)[name if project == PROJECT else key] = value
    edit(own)
    path = folder / f"Pulumi.{stack}.yaml"
    config = others | {f"{PROJECT}:{key}": value for key, value in own.items()}
    path.write_text(yaml.safe_dump({"config": config}))
    return path


@pytest.fixture
def own_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Return the section `alerts` that names a rule file of the user's with this text."""

    def write(text: str) -> dict[str, Any]:
        (tmp_path / "rules").symlink_to(ROOT / "rules")
        (tmp_path / "shops.yml").write_text(text)
        monkeypatch.setattr(deployment, "ROOT", tmp_path)  # where the file is looked for
        return {"ruleFiles": ["shops.yml"]}

    return write


@pytest.fixture
def in_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Edit]:
    """Return an edit that gives the first vendor its ranges in a file, as thousands must be."""

    def edit_of(ranges: list[str]) -> Edit:
        monkeypatch.setattr(loading, "ROOT", tmp_path)  # where the file is looked for
        (tmp_path / "ranges.txt").write_text("\n".join(ranges))

        def edit(keys: dict[str, Any]) -> None:
            del keys["vendors"][0]["cidrs"]
            keys["vendors"][0]["cidrsFile"] = "ranges.txt"

        return edit

    return edit_of


def shipped(stack: str) -> Path:
    return ROOT / f"Pulumi.{stack}.yaml"


# What tests look for in a run.

WORKLOADS = ("Deployment", "StatefulSet")


def objects(run: Run) -> list[Any]:
    """Everything that Kubernetes itself receives."""
    return [resource for resource in run.resources if resource.kind]


def workloads(run: Run) -> list[Any]:
    return [resource for kind in WORKLOADS for resource in run.of_kind(kind)]


def provider_of(run: Run) -> Any:
    """Return the provider of every Kubernetes object."""
    (found,) = [one for one in run.of_type("pulumi:providers:kubernetes") if one.name == "cluster"]
    return found


def named(run: Run, kind: str) -> set[str]:
    return {resource.inputs["metadata"]["name"] for resource in run.of_kind(kind)}


def pod_spec(run: Run, kind: str, name: str) -> dict[str, Any]:
    return run.only(kind, name)["spec"]["template"]["spec"]


def container_of(workload: dict[str, Any]) -> dict[str, Any]:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return container


def config_map(run: Run, resource_name: str) -> dict[str, str]:
    """Return the data of the ConfigMap that one resource of the program makes."""
    (found,) = [one for one in run.of_kind("ConfigMap") if one.name == resource_name]
    return found.inputs["data"]


def scrape_jobs(run: Run, server: str = "prometheus") -> dict[str, Any]:
    config = yaml.safe_load(run.only("ConfigMap", f"{server}-config")["data"]["prometheus.yml"])
    return {job["job_name"]: job for job in config["scrape_configs"]}


def config_maps_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a pod's volumes take from ConfigMaps."""
    volumes = spec["volumes"]
    parts = [part for v in volumes for part in v.get("projected", {}).get("sources", ())]
    return [part["configMap"] for part in (*volumes, *parts) if "configMap" in part]


def waited_for(run: Run, resource: Any) -> set[str]:
    """Return the URNs that exist before a resource.

    Pulumi registers a child once its parent is, and that once what it depends on exists.
    """
    by_urn = {other.urn: other for other in run.resources}
    found: set[str] = set()
    while resource:
        found |= resource.dependencies
        resource = by_urn.get(resource.parent)
    return found
