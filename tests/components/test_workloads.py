"""A pod's workload, as Prometheus discovers it and as kubectl shows it."""

from __future__ import annotations

from typing import Any

import pytest

from components.prometheus.workloads import pod_label, workload_of, workload_relabel
from tests.relabel import relabel

LABEL = "example.com/workload"


def by_prometheus(kind: str, name: str, labels: dict[str, str]) -> str:
    found = {pod_label(key): value for key, value in labels.items()}
    if kind:
        found["__meta_kubernetes_pod_controller_kind"] = kind
        found["__meta_kubernetes_pod_controller_name"] = name
    relabelled = relabel(workload_relabel(LABEL, "workload"), found)
    assert relabelled is not None
    return relabelled["workload"]


def by_kubectl(kind: str, name: str, labels: dict[str, str]) -> str:
    metadata: dict[str, Any] = {"name": "crawl-x7k2p", "labels": labels}
    if kind:
        # An owner that does not control the pod has no say.
        other = {"kind": "Node", "name": "node-1"}
        owner = {"kind": kind, "name": name, "controller": True}
        metadata["ownerReferences"] = [other, owner]
    return workload_of(metadata, LABEL)


@pytest.mark.parametrize(
    ("kind", "name", "labels", "workload"),
    [
        ("ReplicaSet", "shop-crawler-7d9c5b8f6d", {}, "shop-crawler"),
        ("StatefulSet", "news-2", {}, "news-2"),
        ("DaemonSet", "edge", {}, "edge"),
        ("Job", "nightly-29301120", {}, "nightly"),
        ("Job", "crawl-2026-11-30-a8f3e", {}, "(Job)"),
        ("Job", "crawl-shop.example-20261130", {}, "(Job)"),
        ("Job", "scrape-0b1c6c1e-6f0e-4c5b-9d7a-29301120abcd", {}, "(Job)"),
        ("Job", "scaled-crawl-x7k2p", {}, "(Job)"),
        ("Workflow", "crawl-4xk2p", {}, "(Workflow)"),
        ("Pod", "crawl-9f3a-driver", {}, "(Pod)"),
        ("", "", {}, "(Pod)"),
        ("Job", "crawl-2026-11-30-a8f3e", {LABEL: "daily"}, "daily"),
        ("ReplicaSet", "shop-crawler-7d9c5b8f6d", {LABEL: "shop"}, "shop"),
        ("", "", {LABEL: ""}, "(Pod)"),
        (
            *("StatefulSet", "load-generator"),
            {LABEL: "crawler", "proxy-observability/component": "load-generator"},
            "load-generator",
        ),
    ],
)
def test_a_workload_has_one_name_wherever_it_is_asked(kind, name, labels, workload):
    """Boards show Prometheus' name, verify and discover kubectl's; a Job's own is in neither."""
    assert by_prometheus(kind, name, labels) == workload
    assert by_kubectl(kind, name, labels) == workload
