"""The API server refuses wrong objects, so its acceptance of a stack means something."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from render.program import run_program
from tests.api.cluster import Cluster, objects_of, pods_of
from tests.mesh.kubernetes import ApiError
from tests.program.conftest import SHAPES, edited_copy

Json = dict[str, Any]
Path = tuple[str | int, ...]


@pytest.fixture(scope="module")
def objects(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """Return objects of every kind that the program makes; the API server has their namespaces."""
    found = []
    for shape in ("prod", "operator-slack"):
        stack, edit = SHAPES[shape]
        copied = edited_copy(tmp_path_factory.mktemp(shape), stack, edit)
        found += objects_of(run_program(stack, copied))
    for each in found:
        if each["kind"] == "Namespace":
            cluster.apply(each)
    return found


def set_at(manifest: Json, path: Path, value: Any) -> None:
    inner: Any = manifest
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value


WRONG: list[tuple[str, Path, Any, str]] = [
    ("Deployment", ("spec", "replica"), 1, "field not declared"),
    ("Deployment", ("spec", "selector", "matchLabels"), {"app": "x"}, "does not match"),
    ("Deployment", ("spec", "replicas"), "one", "expected numeric"),
    ("StatefulSet", ("spec", "template", "spec", "containers", 0, "imagee"), "x", "not declared"),
    ("Service", ("spec", "ports", 0, "port"), 99999999, "between 1 and 65535"),
    ("ConfigMap", ("metadata", "name"), "Not_A_Name", "RFC 1123"),
    ("EnvoyFilter", ("spec", "configPatches", 0, "applyTo"), "CLUSTERS", "Unsupported value"),
    ("EnvoyFilter", ("spec", "configPatch"), [], "not declared"),
    ("Sidecar", ("spec", "egress", 0, "hosts"), "./*", "expected list"),
    ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "15 s", "should match"),
    ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "relabeling"), [], "not declared"),
    ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "for"), "ten", "should match"),
    ("Role", ("rules", 0, "verbs"), [], "verbs"),
    ("NetworkPolicy", ("spec", "policyTypes"), ["Inward"], "Unsupported value"),
]


@pytest.mark.parametrize(("kind", "path", "value", "reason"), WRONG)
def test_a_wrong_object_is_refused(
    cluster: Cluster,
    objects: list[Json],
    kind: str,
    path: Path,
    value: Any,
    reason: str,
) -> None:
    """Each is one slip of the keyboard away from an object that is rendered."""
    manifest = copy.deepcopy(next(each for each in objects if each["kind"] == kind))
    set_at(manifest, path, value)
    with pytest.raises(ApiError, match=reason):
        cluster.apply(manifest)


def host_network(pod: Json) -> None:
    pod["spec"]["hostNetwork"] = True


def root(pod: Json) -> None:
    pod["spec"]["securityContext"]["runAsUser"] = 0


def host_folder(pod: Json) -> None:
    pod["spec"]["volumes"] += [{"name": "host", "hostPath": {"path": "/"}}]


def writable_privileges(pod: Json) -> None:
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True


@pytest.mark.parametrize("spoil", [host_network, root, host_folder, writable_privileges])
def test_a_pod_below_the_namespaces_level_is_refused(
    cluster: Cluster, objects: list[Json], spoil: Callable[[Json], None]
) -> None:
    pods = [pod for pod, _ in pods_of(objects)]
    pod = next(each for each in pods if each["metadata"]["namespace"] == "monitoring")
    cluster.try_pod(pod)
    spoil(pod)
    with pytest.raises(ApiError, match='violates PodSecurity "restricted'):
        cluster.try_pod(pod)
