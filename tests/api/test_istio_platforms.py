"""`istio.platform` and istiod's replicas, in what Helm makes of both Istios' own charts.

What is expected is in the charts' files/profile-platform-<name>.yaml.
"""

from __future__ import annotations

from typing import Any

import pytest

from components.mesh.values import FOLDERS, charts_of
from settings.loading import parse_settings
from tests.mesh.control_plane import chart
from tests.mesh.versions import PAIRS, Pair

Json = dict[str, Any]

K3S = "/var/lib/rancher/k3s"
PATHS = {
    None: ("/opt/cni/bin", "/etc/cni/net.d", "/var/run/netns"),
    # Empty in the profile: there the chart sees by the API server's version what it has to be.
    "gke": ("/home/kubernetes/bin", "/etc/cni/net.d", "/var/run/netns"),
    "k3s": (f"{K3S}/data/cni", f"{K3S}/agent/etc/cni/net.d", "/var/run/netns"),
    "k3d": ("/bin", f"{K3S}/agent/etc/cni/net.d", "/var/run/netns"),
    "microk8s": (
        "/var/snap/microk8s/current/opt/cni/bin",
        "/var/snap/microk8s/current/args/cni-network",
        "/var/run/netns",
    ),
    "minikube": ("/opt/cni/bin", "/etc/cni/net.d", "/var/run/docker/netns"),
}
"""Where the CNI agent finds a node's plugins, their configuration, and network namespaces."""


def rendered(pair: Pair, **sections: Any) -> list[Json]:
    vendors = [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]
    settings = parse_settings({"cluster": "dev", "vendors": vendors, **sections})
    meshlab = pair.program("meshlab")
    return [
        one
        for each in charts_of(settings)
        for one in chart(meshlab, each.release, FOLDERS[each.name], each.values)
    ]


def of_kind(objects: list[Json], kind: str) -> list[Json]:
    return [each for each in objects if each["kind"] == kind]


@pytest.fixture(params=PAIRS, ids=lambda pair: pair.name)
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.param
    return found


@pytest.mark.parametrize("platform", PATHS)
def test_the_cni_agent_knows_the_nodes_paths(pair: Pair, platform: str | None) -> None:
    """With another node's paths no pod with a sidecar starts."""
    objects = rendered(pair, istio={"platform": platform} if platform else {})
    (agent,) = of_kind(objects, "DaemonSet")
    volumes = {
        each["name"]: each["hostPath"] for each in agent["spec"]["template"]["spec"]["volumes"]
    }
    names = ("cni-bin-dir", "cni-net-dir", "cni-netns-dir")
    assert tuple(volumes[name]["path"] for name in names) == PATHS[platform]
    # GKE refuses critical pods outside kube-system without a quota that allows them.
    quotas = of_kind(objects, "ResourceQuota")
    assert bool(quotas) is (platform == "gke")
    (istiod,) = of_kind(objects, "Deployment")
    environment = istiod["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "PLATFORM", "value": platform or ""} in [
        {"value": "", **each} for each in environment
    ]


@pytest.mark.parametrize("platform", [None, "k3s", "gke"])
def test_a_path_of_the_stack_wins(pair: Pair, platform: str | None) -> None:
    """A platform's own values replace what does not stand below `cni`."""
    values = {"cni": {"cni": {"cniBinDir": "/own/bin"}}}
    istio = {"values": values, **({"platform": platform} if platform else {})}
    (agent,) = of_kind(rendered(pair, istio=istio), "DaemonSet")
    volumes = agent["spec"]["template"]["spec"]["volumes"]
    (path,) = [each["hostPath"]["path"] for each in volumes if each["name"] == "cni-bin-dir"]
    assert path == "/own/bin"


@pytest.mark.parametrize("replicas", [1, 2])
def test_two_istiods_have_a_budget(pair: Pair, replicas: int) -> None:
    """Else a drain of two nodes takes both."""
    objects = rendered(pair, istio={"istiod": {"replicas": replicas}})
    (scaler,) = of_kind(objects, "HorizontalPodAutoscaler")
    assert scaler["spec"]["minReplicas"] == replicas
    budgets = of_kind(objects, "PodDisruptionBudget")
    assert [each["spec"]["minAvailable"] for each in budgets] == [1] * (replicas - 1)


def test_istiod_is_placed_by_its_charts_values(pair: Pair) -> None:
    toleration = {"key": "dedicated", "operator": "Equal", "value": "x", "effect": "NoSchedule"}
    objects = rendered(
        pair,
        istio={"imagePullSecrets": ["registry"]},
        images={"mirror": "registry.example/mirror"},
        scheduling={
            "nodeSelector": {"pool": "mesh"},
            "tolerations": [toleration],
            "priorityClass": "mesh",
            "topologySpread": [{"topologyKey": "zone"}],
        },
    )
    (istiod,) = of_kind(objects, "Deployment")
    template = istiod["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    assert pod["nodeSelector"] == {"pool": "mesh"}
    assert toleration in pod["tolerations"]
    assert pod["priorityClassName"] == "mesh"
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    for workload in (istiod, *of_kind(objects, "DaemonSet")):
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        assert container["image"].startswith("registry.example/mirror/registry.istio.io/release/")
    accounts = {
        each["metadata"]["name"]: each.get("imagePullSecrets")
        for each in of_kind(objects, "ServiceAccount")
    }
    assert accounts["istiod"] == accounts["istio-cni"] == [{"name": "registry"}]
