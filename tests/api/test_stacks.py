"""The API server takes every object of every stack, and admits its pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from render.program import run_program
from settings.loading import ROOT
from settings.values.quantities import memory_bytes
from tests.api.cluster import WEBHOOKS, Cluster, istio_of, objects_of, pods_of
from tests.mesh.kubernetes import ApiError
from tests.program.conftest import SHAPES, edited_copy

Json = dict[str, Any]

EXAMPLES = {file.stem: file for file in (ROOT / "docs" / "examples").glob("Pulumi.*.yaml")}
ISTIO = "istio"
"""Istio's charts are a stack of their own here: most stacks have the same."""
UNCOUNTED = "system-node-critical"
"""Priority class of Istio's CNI agent, of which each node has one."""


@dataclass(frozen=True)
class Applied:
    """A stack's objects, and what the API server answered to each, twice."""

    objects: list[Json]
    answers: tuple[list[Json], list[Json]]


@pytest.fixture(
    scope="module",
    params=["dev", "prod", "shards", "global", "operator-slack", *sorted(EXAMPLES), ISTIO],
)
def applied(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Applied]:
    """Apply a stack of the program's tests, or of docs/examples."""
    name = request.param
    if name in EXAMPLES:
        objects = objects_of(run_program("prod", EXAMPLES[name]))
    else:
        stack, edit = SHAPES["dev" if name == ISTIO else name]
        run = run_program(stack, edited_copy(tmp_path_factory.mktemp(name), stack, edit))
        objects = istio_of(run) if name == ISTIO else objects_of(run)
    answers = [cluster.apply(each) for each in objects], [cluster.apply(each) for each in objects]
    for each in objects:
        if each["kind"] == "ResourceQuota":
            cluster.use_quota(each)
    # No istiod answers here: its webhook would refuse every pod of a crawler.
    cluster.remove([each for each in objects if each["kind"] in WEBHOOKS])
    yield Applied(objects, answers)
    cluster.remove([each for each in objects if each["kind"] not in WEBHOOKS])


def test_every_object_is_accepted_twice(applied: Applied) -> None:
    """What changes at each `up` would roll pods and fill previews for no reason."""
    assert applied.objects
    changed = [
        (one["kind"], one["metadata"]["name"])
        for one, two in zip(*applied.answers, strict=True)
        for key in ("resourceVersion", "generation")
        if one["metadata"].get(key) != two["metadata"].get(key)
    ]
    assert changed == []


def test_every_pod_is_admitted(applied: Applied, cluster: Cluster) -> None:
    """Pod security and quotas refuse pods, not their workloads: `up` would wait in vain."""
    refused = []
    pods = [*pods_of(applied.objects)]
    assert pods
    for pod, _ in pods:
        try:
            cluster.try_pod(pod)
        except ApiError as error:
            refused.append(str(error))
    assert refused == []


def test_a_roll_out_fits_its_quota_and_no_more(applied: Applied, cluster: Cluster) -> None:
    """Quotas refuse pods: one that is too small shows at the next roll-out, hours later."""
    for quota in [each for each in applied.objects if each["kind"] == "ResourceQuota"]:
        namespace = quota["metadata"]["namespace"]
        pods = [
            pod
            for pod, count in pods_of(applied.objects)
            for _ in range(count)
            if pod["metadata"]["namespace"] == namespace
        ]
        if not pods and namespace == "istio-system":
            continue  # its charts are a stack of their own here
        counted = [pod for pod in pods if pod["spec"].get("priorityClassName") != UNCOUNTED]
        room = int(quota["spec"]["hard"]["pods"]) - len(counted)
        assert room >= 1
        largest = max(counted, key=lambda pod: memory_bytes(resources_of(pod)["limits"]["memory"]))
        with cluster.creating() as create:
            for pod in [*pods, *[largest] * room]:
                create(pod)
            with pytest.raises(ApiError, match="exceeded quota: proxy-observability"):
                create(largest)


def test_every_container_of_a_namespace_with_a_quota_has_limits(
    applied: Applied, cluster: Cluster
) -> None:
    """The quota refuses any other; those that it does not count could take a whole node."""
    limited = {e["metadata"]["namespace"] for e in applied.objects if e["kind"] == "ResourceQuota"}
    for pod, _ in pods_of(applied.objects):
        if pod["metadata"]["namespace"] in limited:
            resources = resources_of(pod)
            for bound in ("requests", "limits"):
                assert resources[bound].keys() == {"cpu", "memory"}, pod["metadata"]["name"]
            if pod["spec"].get("priorityClassName") != UNCOUNTED:
                del resources["limits"]
                with pytest.raises(ApiError, match=r"must specify limits\.cpu"):
                    cluster.try_pod(pod)


def resources_of(pod: Json) -> Json:
    (container,) = pod["spec"]["containers"]
    found: Json = container["resources"]
    return found
