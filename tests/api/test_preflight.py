"""`make preflight` by the real kubectl, on a real API server with what Istio's own charts make."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflight.__main__ import main
from preflight.objects import KINDS
from tests.api.cluster import Cluster, chart_objects
from tests.programs import stand_in

Json = dict[str, Any]
Asked = Callable[..., tuple[int, Json]]

CRAWLERS, OTHERS, ISTIO = "their-crawlers", "their-shops", "istio-system"
REVISION = "1-31"
READER, NOBODY = "preflight-reader", "preflight-nobody"
INJECTION = "MutatingWebhookConfiguration"
NEEDED = ("Deployment", "ConfigMap", INJECTION)
VENDORS = [{"name": "vendor-a", "cidrs": ["203.0.113.0/24"], "httpPorts": [3128]}]
LABEL = "crawler-5d4f8"


def section(**istio: Any) -> Json:
    return {
        "cluster": "x",
        "vendors": VENDORS,
        "crawlers": {
            "namespaces": [CRAWLERS],
            "createNamespaces": False,
            "egressHosts": ["queues/*"],
        },
        "istio": {"install": False, **istio},
        "prometheus": {"createNamespace": False},
    }


@pytest.fixture
def asked(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Return what asks for a stack as a user, for the exit code and the report."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl missing; install kubernetes-client")
    enter = " ".join(cluster.world.command([program, f"--kubeconfig={cluster.kubeconfig}"]))
    file = tmp_path / "Pulumi.x.yaml"

    def ask(user: str, **istio: Any) -> tuple[int, Json]:
        stand_in(tmp_path / "kubectl", f'exec {enter} --as={user} "$@"')
        keys = {f"proxy-observability:{key}": value for key, value in section(**istio).items()}
        file.write_text(yaml.safe_dump({"config": keys}))
        code = main(["--stack=x", f"--out={tmp_path}"])
        return code, json.loads((tmp_path / "preflight.json").read_text())

    monkeypatch.setenv("STACK_FILE", str(file))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    with applied(cluster, *their_cluster(), *rights()):
        yield ask


LABELS_OF_A_NAMESPACE = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "patch"]}


def manifest(version: str, kind: str, name: str, namespace: str = "", **more: Any) -> Json:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where}, **more}


def their_cluster() -> list[Json]:
    """Return a mesh of a revision with a tag, and what stands in a stack's way."""
    pod = manifest("v1", "Pod", "crawler-1", CRAWLERS)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": LABEL, "uid": "1"}
    pod["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    container = {"name": "crawler", "image": "crawler:1"}
    pod["spec"] = {"hostNetwork": True, "containers": [container]}
    egress = [{"hosts": ["./*", "data/*"]}]
    http = [{"name": "http-proxy", "port": 3128}]
    values = {"revision": REVISION, "revisionTags": ["prod"], "global": {"tag": "1.31.4"}}
    istio = [one for one in chart_objects("istiod", values) if one["kind"] in NEEDED]
    return [
        *(manifest("v1", "Namespace", name) for name in (CRAWLERS, OTHERS, ISTIO, "monitoring")),
        pod,
        manifest("v1", "Service", "proxy", CRAWLERS, spec={"ports": http}),
        manifest("networking.istio.io/v1", "Sidecar", "default", CRAWLERS, spec={"egress": egress}),
        # Last, as no istiod answers: a pod could not be made any more.
        *sorted(istio, key=lambda one: one["kind"] == INJECTION),
    ]


def rights() -> list[Json]:
    """Return the role that docs/preflight.md needs of a reader: `list` and `get`, and no Secret."""
    named = (kind.resource.partition(".") for kind in KINDS)
    rules = [
        {"apiGroups": [group], "resources": [plural], "verbs": ["get", "list"]}
        for plural, _, group in named
    ]
    assert not any("secrets" in rule["resources"] for rule in rules)
    api = "rbac.authorization.k8s.io"
    role = {"apiGroup": api, "kind": "ClusterRole", "name": READER}
    user = {"apiGroup": api, "kind": "User", "name": READER}
    return [
        manifest(f"{api}/v1", "ClusterRole", READER, rules=rules),
        manifest(f"{api}/v1", "ClusterRoleBinding", READER, roleRef=role, subjects=[user]),
        # As the owner of a namespace has it.
        manifest(f"{api}/v1", "Role", "label", CRAWLERS, rules=[LABELS_OF_A_NAMESPACE]),
        manifest(
            f"{api}/v1",
            "RoleBinding",
            "label",
            CRAWLERS,
            roleRef={**role, "kind": "Role", "name": "label"},
            subjects=[user],
        ),
    ]


@contextmanager
def applied(cluster: Cluster, *manifests: Json) -> Iterator[None]:
    try:
        for each in manifests:
            cluster.apply(each)
            if each["kind"] == "Pod":
                cluster.api.set_status(each, {"phase": "Running"})
        yield
    finally:
        cluster.remove(manifests)


def starting(report: Json, *beginnings: str) -> list[int]:
    """Return how many findings begin so, one number each."""
    return [
        sum(line.startswith(beginning) for line in report["findings"]) for beginning in beginnings
    ]


def test_a_user_who_may_only_read_is_told_all(asked: Asked) -> None:
    code, report = asked(READER, revision="prod")
    assert code == 1
    found = starting(
        report,
        f"refuse: Sidecar {CRAWLERS}/default: selects crawlers as ours would",
        f"warn: Service {CRAWLERS}/proxy: takes port 3128 of vendors",
        f"warn: workload {CRAWLERS}/crawler: gets no sidecar, as it has hostNetwork (pod",
        "refuse: scheduling.storageClass: is not set, and the cluster has no default StorageClass",
        "refuse: rights: this user may not create clusterroles.rbac.authorization.k8s.io, ",
        "refuse: rights: this user may not create envoyfilters.networking.istio.io, ",
        # The tag of the real chart leads to a release that is right.
        f"refuse: Deployment {ISTIO}",
        f"refuse: Namespace {CRAWLERS}",
        # A Role in the namespace allows it.
        "refuse: rights: this user may not patch",
    )
    assert found == [1, 1, 1, 1, 1, 1, 0, 0, 0], report["findings"]
    assert not any(check["unasked"] for check in report["checks"])


def test_a_revision_that_nobody_injects(asked: Asked) -> None:
    code, report = asked(READER, revision="canary")
    assert code == 1
    (line,) = [one for one in report["findings"] if INJECTION in one]
    assert line.startswith(f"refuse: Namespace {CRAWLERS}: no {INJECTION} injects")
    assert line.endswith(f"set istio.revision to one of {REVISION}, prod")


def test_a_user_who_may_nothing_gets_an_answer_of_his_rights(asked: Asked) -> None:
    code, report = asked(NOBODY, revision="prod")
    assert code == 1
    assert all("may not" in line for line in report["findings"]), report["findings"]
    patches = f"refuse: rights: this user may not patch namespaces in namespace {CRAWLERS}, "
    assert starting(report, patches) == [1]
    unasked = {one for check in report["checks"] for one in check["unasked"]}
    assert {"namespaces", "services in all namespaces", f"pods in {CRAWLERS}"} <= unasked
