"""`make verify` on a real API server, where istiod injects and validates: planted faults."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployment import stack_plan
from discover.kubectl import KubectlError
from tests.mesh import names
from tests.mesh.mesh import CRAWLERS, Mesh
from tests.programs import stand_in
from verify.cluster import Cluster
from verify.crawlers import crawler_checks
from verify.pods import CONFIG

Json = dict[str, Any]

ROOT_NAMESPACE, OTHERS = "istio-system", "shops"
TRAFFIC = "traffic.sidecar.istio.io"
MATCHER = "{proxyStatsMatcher: {inclusionRegexps: [http]}}"
OURS = {"app": "crawler"}
ISTIO = "networking.istio.io"
OUTBOUND_PATCH = {
    "applyTo": "LISTENER",
    "match": {"context": "SIDECAR_OUTBOUND", "listener": {"name": "virtualOutbound"}},
    "patch": {"operation": "MERGE", "value": {"listener_filters_timeout": "5s"}},
}


def kubectl_for(mesh: Mesh, folder: Path) -> Path:
    """Write a kubectl that enters the mesh's network as its user would log in."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl missing; install kubernetes-client")
    config = mesh.folder / "kubeconfig.json"
    enter = f"nsenter --net={mesh.world.path} {program} --kubeconfig={config}"
    stand_in(folder / "kubectl", f'exec {enter} "$@"')
    return folder


@pytest.fixture(scope="module")
def cluster(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = kubectl_for(mesh, tmp_path_factory.mktemp("kubectl"))
    mesh.namespace(OTHERS, {})
    # As in a namespace of the user's own: hostNetwork is refused in ours.
    privileged = labelled(mesh, {"pod-security.kubernetes.io/enforce": "privileged"})
    with privileged, pytest.MonkeyPatch.context() as patch:
        mesh.up(mesh.stack(names.by_name))
        patch.setenv("PATH", f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin")
        yield Cluster("mesh")


def asked(mesh: Mesh, cluster: Cluster) -> list[str]:
    settings = mesh.settings(names.by_name)
    pods = cluster.pods(CRAWLERS, settings.crawlers.selector)
    checks = crawler_checks(cluster, settings, stack_plan(settings), pods)
    return sorted(finding for check in checks for finding in check.findings)


@contextmanager
def running(
    mesh: Mesh, workload: str, *, change: Json | None = None, **more: Any
) -> Iterator[None]:
    """Create a pod of a Deployment, through istiod's injection, that the API server thinks runs."""
    name = f"{workload}-5d4f8-x1"
    manifest = mesh.pod_manifest(name, **more)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{workload}-5d4f8", "uid": "1"}
    manifest["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    manifest["spec"] |= change or {}
    made = mesh.api.create(manifest)
    mesh.api.set_status(manifest, {"phase": "Running"})
    try:
        yield
    finally:
        mesh.api.delete("v1", "Pod", made["metadata"]["namespace"], name)


@contextmanager
def applied(mesh: Mesh, kind: str, name: str, namespace: str, spec: Json) -> Iterator[None]:
    others = {"EnvoyFilter": f"{ISTIO}/v1alpha3", "ProxyConfig": f"{ISTIO}/v1beta1"}
    version = {"Service": "v1", **others}.get(kind, f"{ISTIO}/v1")
    metadata = {"name": name, "namespace": namespace}
    mesh.api.apply({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    try:
        yield
    finally:
        mesh.api.delete(version, kind, namespace, name)


@contextmanager
def labelled(mesh: Mesh, labels: Json) -> Iterator[None]:
    """Change the labels of the crawlers' namespace; None takes one away."""
    path = f"/api/v1/namespaces/{CRAWLERS}"
    before = mesh.api.call("GET", path)["metadata"]["labels"]
    mesh.api.call("PATCH", path, {"metadata": {"labels": labels}}, "merge-patch+json")
    try:
        yield
    finally:
        back = {key: before.get(key) for key in labels}
        mesh.api.call("PATCH", path, {"metadata": {"labels": back}}, "merge-patch+json")


def entry(host: str, port: int, protocol: str, **more: Any) -> Json:
    ports = [{"number": port, "name": f"{protocol.lower()}-{port}", "protocol": protocol}]
    return {
        "hosts": [host],
        "ports": ports,
        "location": "MESH_EXTERNAL",
        "resolution": "DNS",
        **more,
    }


def harmless(mesh: Mesh) -> Iterator[Any]:
    """What other people have beside crawlers, and nobody has to change."""
    yield running(mesh, "good")
    yield running(mesh, "database", annotations={f"{TRAFFIC}/excludeOutboundPorts": "5432"})
    ranges = {f"{TRAFFIC}/excludeOutboundIPRanges": "10.96.0.0/16"}
    yield running(mesh, "services", annotations=ranges)
    yield running(mesh, "own-matcher", annotations={CONFIG: MATCHER})
    yield running(mesh, "all", annotations={f"{TRAFFIC}/includeOutboundIPRanges": "*"})
    yield running(mesh, "other", labels={"app": "web", "sidecar.istio.io/inject": "false"})
    inbound = copy.deepcopy(OUTBOUND_PATCH)
    inbound["match"] = {"context": "SIDECAR_INBOUND"}
    yield applied(mesh, "EnvoyFilter", "inbound", ROOT_NAMESPACE, {"configPatches": [inbound]})
    gateway = {"workloadSelector": {"labels": {"app": "gw"}}, "configPatches": [OUTBOUND_PATCH]}
    yield applied(mesh, "EnvoyFilter", "gateway", ROOT_NAMESPACE, gateway)
    yield applied(mesh, "EnvoyFilter", "theirs", OTHERS, {"configPatches": [OUTBOUND_PATCH]})
    yield applied(mesh, "ServiceEntry", "far", OTHERS, entry("far.test", 3128, "HTTP"))
    near = entry("near.test", 3128, "TCP", addresses=["10.200.0.9"])
    yield applied(mesh, "ServiceEntry", "near", CRAWLERS, near)
    yield applied(mesh, "ServiceEntry", "api", CRAWLERS, entry("api.test", 8443, "TLS"))
    ports = [{"name": "tcp-proxy", "port": 3128}]
    yield applied(mesh, "Service", "tcp", CRAWLERS, {"ports": ports})
    others = {"workloadSelector": {"labels": {"app": "web"}}, "egress": [{"hosts": ["./*"]}]}
    yield applied(mesh, "Sidecar", "others", CRAWLERS, others)


def faults(mesh: Mesh) -> list[tuple[Any, str]]:
    """Return what is planted, and how the line that names it begins."""

    def pod(workload: str, **more: Any) -> Any:
        return running(mesh, workload, **more)

    def annotated(workload: str, key: str, value: str) -> Any:
        return pod(workload, annotations={key: value})

    mesh_wide = {"configPatches": [OUTBOUND_PATCH]}
    ports = [{"name": "http-proxy", "port": 3128}]
    ours = {"workloadSelector": {"labels": {"app": "crawler"}}, "egress": [{"hosts": ["*/*"]}]}
    web = entry("web.test", 3140, "HTTP")
    shadowed = entry("gw.a.test", 9999, "TCP", addresses=["10.200.0.8"])
    return [
        (
            pod("switched-off", labels={"sidecar.istio.io/inject": "false"}),
            'crawlers/switched-off: has no sidecar, as sidecar.istio.io/inject is "false" (pod',
        ),
        (
            pod("on-the-node", change={"hostNetwork": True}),
            "crawlers/on-the-node: has no sidecar, as istiod gives none to hostNetwork",
        ),
        (
            annotated("past-ports", f"{TRAFFIC}/excludeOutboundPorts", "5432,3128"),
            "crawlers/past-ports: sends port 3128 of a vendor past the sidecar",
        ),
        (
            annotated("past-ranges", f"{TRAFFIC}/excludeOutboundIPRanges", "10.2.0.0/24"),
            "crawlers/past-ranges: sends 10.2.0.0/16 of a vendor past the sidecar",
        ),
        (
            annotated("few-ranges", f"{TRAFFIC}/includeOutboundIPRanges", "10.0.0.0/13,::/0"),
            "crawlers/few-ranges: does not send 10.8.0.0/16 of a vendor through the sidecar",
        ),
        (
            annotated("own-regexps", "sidecar.istio.io/statsInclusionRegexps", "http"),
            "crawlers/own-regexps: exports other statistics than the stack's "
            "(pod own-regexps-5d4f8-x1); remove",
        ),
        (
            applied(mesh, "ProxyConfig", "theirs", CRAWLERS, {"selector": {"matchLabels": OURS}}),
            "crawlers: ProxyConfig theirs is for crawlers as ours is",
        ),
        (
            labelled(mesh, {"istio.io/dataplane-mode": "ambient"}),
            "crawlers: the namespace is in ambient mode",
        ),
        (
            applied(mesh, "EnvoyFilter", "patch", CRAWLERS, mesh_wide),
            "crawlers: EnvoyFilter patch patches LISTENER of the crawlers' outbound listener",
        ),
        (
            applied(mesh, "EnvoyFilter", "everywhere", ROOT_NAMESPACE, mesh_wide),
            "istio-system: EnvoyFilter everywhere patches LISTENER of the crawlers' outbound",
        ),
        (
            applied(mesh, "ServiceEntry", "name", CRAWLERS, shadowed),
            "crawlers: ServiceEntry name has gw.a.test, a name of the stack",
        ),
        (
            applied(mesh, "ServiceEntry", "port", CRAWLERS, web),
            "crawlers: ServiceEntry port takes port 3140 of vendors from the attribution",
        ),
        (
            applied(mesh, "Service", "proxy", CRAWLERS, {"ports": ports}),
            "crawlers: Service proxy takes port 3128 of vendors from the attribution",
        ),
        (
            applied(mesh, "Sidecar", "wide", CRAWLERS, ours),
            "crawlers: Sidecar wide takes the place of ours for crawlers",
        ),
        (
            _without(mesh, "EnvoyFilter", "proxy-vendor-vendor-i"),
            "crawlers: EnvoyFilter proxy-vendor-vendor-i is missing",
        ),
    ]


@contextmanager
def _without(mesh: Mesh, kind: str, name: str) -> Iterator[None]:
    version = f"{ISTIO}/v1alpha3"
    found = mesh.api.get(version, kind, CRAWLERS, name)
    mesh.api.delete(version, kind, CRAWLERS, name)
    try:
        yield
    finally:
        metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels")}
        spec = found["spec"]
        mesh.api.apply({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})


def test_each_planted_fault_is_named_and_nothing_else(mesh: Mesh, cluster: Cluster) -> None:
    """Beside what others may have; istiod itself injects the pods and takes the objects."""
    with ExitStack() as stack:
        for one in harmless(mesh):
            stack.enter_context(one)
        assert asked(mesh, cluster) == []
        planted = faults(mesh)
        for fault, _ in planted:
            stack.enter_context(fault)
        found = asked(mesh, cluster)
    begins = [beginning for _, beginning in planted]
    assert [line for line in found if not line.startswith(tuple(begins))] == []
    assert [one for one in begins if not any(line.startswith(one) for line in found)] == []
    assert len(found) == len(planted)
    assert asked(mesh, cluster) == []


def test_a_pod_that_is_older_than_the_label_is_named(mesh: Mesh, cluster: Cluster) -> None:
    """As after the first `up`, until crawlers restart; and a label that somebody took away."""
    with labelled(mesh, {"istio-injection": None}):
        time.sleep(0.5)  # the API server's webhooks read namespaces from a cache
        pod = running(mesh, "old")
        pod.__enter__()
        (_, lost) = asked(mesh, cluster)
    assert lost.startswith("crawlers: the namespace lacks the label istio-injection=enabled")
    (old,) = asked(mesh, cluster)
    assert old.startswith("crawlers/old: has no sidecar, as it is older than the namespace's label")
    pod.__exit__(None, None, None)
    assert asked(mesh, cluster) == []


def test_the_cluster_is_told_by_its_identity(mesh: Mesh, cluster: Cluster) -> None:
    """And a context that there is not is an error with kubectl's reason."""
    kube_system = mesh.api.get("v1", "Namespace", None, "kube-system")
    assert cluster.uid() == kube_system["metadata"]["uid"]
    with pytest.raises(KubectlError, match=r"\bnone\b.*; correct that, or .*CONTEXT="):
        Cluster("none").uid()
    with pytest.raises(KubectlError, match="no Secret in namespace monitoring"):
        cluster.login("monitoring", app="prometheus")
