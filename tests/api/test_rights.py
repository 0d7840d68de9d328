"""What each account and role may do, as the API server's own authorizer answers."""

from __future__ import annotations

from typing import Any

import pytest

from render.program import run_program
from tests.api.cluster import Cluster, objects_of
from tests.program.conftest import edited_copy, sections

Json = dict[str, Any]
Asked = tuple[str, str, str]
"""Verb, resource as `group/resource/subresource`, namespace; `*` is the cluster."""

SCRAPER = "system:serviceaccount:monitoring:prometheus"
BACKUP = "system:serviceaccount:monitoring:prometheus-backup"
LOOKS, OPERATES, NOBODY = "team-that-looks", "team-that-operates", "somebody"

WATCHED = ("monitoring", "crawlers", "istio-system")
SNAPSHOTS = "snapshot.storage.k8s.io/volumesnapshots"

NEEDED: dict[str, list[Asked]] = {
    # Service discovery lists and watches; a scrape of the kubelet is a `get` of nodes/metrics.
    SCRAPER: [
        *((verb, "/pods", place) for verb in ("list", "watch") for place in WATCHED),
        *((verb, "/nodes", "*") for verb in ("list", "watch")),
        ("get", "/nodes/metrics", "*"),
    ],
    BACKUP: [(verb, SNAPSHOTS, "monitoring") for verb in ("create", "list", "delete")],
    LOOKS: [
        ("get", "/pods/log", "monitoring"),
        ("list", "/pods", "monitoring"),
        ("list", "/events", "monitoring"),
        ("get", "/services", "monitoring"),
        ("create", "/pods/portforward", "monitoring"),
        ("get", "/configmaps", "monitoring"),
        ("get", "apps/statefulsets", "monitoring"),
        ("list", SNAPSHOTS, "monitoring"),
    ],
    OPERATES: [
        ("get", "/pods/log", "monitoring"),
        ("create", "/pods/portforward", "monitoring"),
        ("delete", "/pods", "monitoring"),
        ("patch", "apps/statefulsets/scale", "monitoring"),
        ("update", "apps/deployments/scale", "monitoring"),
        ("patch", "/persistentvolumeclaims", "monitoring"),
    ],
}

SECRETS = [(verb, "/secrets", "monitoring") for verb in ("get", "list", "watch")]
SHELLS = [
    *(("create", f"/pods/{door}", "monitoring") for door in ("exec", "attach")),
    ("update", "/pods/ephemeralcontainers", "monitoring"),
    ("create", "/serviceaccounts/token", "monitoring"),
]
NEW_PODS = [
    ("create", "/pods", "monitoring"),
    *(("patch", f"apps/{kind}", "monitoring") for kind in ("deployments", "statefulsets")),
    *(("create", f"batch/{kind}", "monitoring") for kind in ("jobs", "cronjobs")),
]
RIGHTS = [
    ("create", "rbac.authorization.k8s.io/rolebindings", "monitoring"),
    ("escalate", "rbac.authorization.k8s.io/roles", "monitoring"),
    ("impersonate", "/users", "*"),
]
ELSEWHERE = [
    ("list", "/secrets", "*"),
    ("delete", "/pods", "crawlers"),
    ("get", "/pods/log", "crawlers"),
    ("patch", "networking.istio.io/envoyfilters", "crawlers"),
    ("create", "/nodes/proxy", "*"),
    ("get", "/nodes/proxy", "*"),
]
LOSSES = [
    ("delete", "/persistentvolumeclaims", "monitoring"),
    ("delete", "apps/statefulsets", "monitoring"),
    ("delete", "/namespaces", "monitoring"),
]
EVERYTHING = [*SECRETS, *SHELLS, *NEW_PODS, *RIGHTS, *ELSEWHERE, *LOSSES]

DENIED: dict[str, list[Asked]] = {
    SCRAPER: [*EVERYTHING, ("list", "/pods", "kube-system"), ("delete", "/pods", "monitoring")],
    BACKUP: [*EVERYTHING, ("get", SNAPSHOTS, "crawlers"), ("list", "/pods", "monitoring")],
    LOOKS: [*EVERYTHING, ("delete", "/pods", "monitoring"), ("delete", SNAPSHOTS, "monitoring")],
    OPERATES: [*EVERYTHING, ("delete", SNAPSHOTS, "monitoring"), ("get", "/pods", "crawlers")],
    NOBODY: [asked for who, each in NEEDED.items() for asked in each if who != SCRAPER],
}


@pytest.fixture(scope="module")
def authorizer(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Return a cluster with prod's accounts, roles and bindings."""
    access = {"viewers": [LOOKS], "operators": [OPERATES]}
    edit = sections(monitoring={"access": access})
    folder = tmp_path_factory.mktemp("rights")
    for each in objects_of(run_program("prod", edited_copy(folder, "prod", edit))):
        rights = each["apiVersion"].startswith("rbac.authorization.k8s.io/")
        if rights or each["kind"] in ("Namespace", "ServiceAccount"):
            cluster.apply(each)
    return cluster


@pytest.mark.parametrize("who", NEEDED)
def test_what_is_needed_is_allowed(authorizer: Cluster, who: str) -> None:
    assert [asked for asked in NEEDED[who] if not may(authorizer, who, asked)] == []


@pytest.mark.parametrize("who", DENIED)
def test_everything_else_is_denied(authorizer: Cluster, who: str) -> None:
    assert [asked for asked in DENIED[who] if may(authorizer, who, asked)] == []


def may(cluster: Cluster, who: str, asked: Asked) -> bool:
    verb, path, place = asked
    group, resource, *subresource = path.split("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": "".join(subresource),
        "namespace": "" if place == "*" else place,
    }
    account = who.startswith("system:serviceaccount:")
    person = {"user": who} if account else {"user": "a-person", "groups": [who]}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {**person, "resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer = cluster.api.call("POST", path, review)
    return bool(answer["status"]["allowed"])
