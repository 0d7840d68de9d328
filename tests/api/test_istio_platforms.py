"""`istio.platform` and istiod's replicas, in what Helm makes of both Istios' own charts.

What is expected is in the charts' files/profile-platform-<name>.yaml.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from components.mesh.cluster_values import combined
from components.mesh.values import FOLDERS, charts_of
from settings.istio import WITHOUT_PROFILE
from settings.loading import parse_settings
from settings.stack import StackSettings
from tests.api.cluster import charts_folder
from tests.mesh.control_plane import chart
from tests.mesh.versions import PAIRS, Pair, pair_of

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
    "openshift": ("/var/lib/cni/bin", "/etc/cni/multus/net.d", "/var/run/netns"),
}
"""Where the CNI agent finds a node's plugins, their configuration, and network namespaces."""


SCC_GROUP = "security.openshift.io"
PLUGIN_OF_MULTUS = ("default", "istio-cni")


def settings_of(**sections: Any) -> StackSettings:
    vendors = [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]
    return parse_settings({"cluster": "dev", "vendors": vendors, **sections})


def rendered(pair: Pair, **sections: Any) -> list[Json]:
    meshlab = pair.program("meshlab")
    return [
        one
        for each in charts_of(settings_of(**sections))
        for one in chart(meshlab, each.release, FOLDERS[each.name], each.values)
    ]


def of_kind(objects: list[Json], kind: str) -> list[Json]:
    return [each for each in objects if each["kind"] == kind]


def injector_of(objects: list[Json]) -> dict[str, str]:
    """Return the files of the webhook that adds sidecars."""
    (found,) = (
        each["data"]
        for each in of_kind(objects, "ConfigMap")
        if each["metadata"]["name"] == "istio-sidecar-injector"
    )
    return dict(found)


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


@pytest.mark.parametrize("platform", sorted({*PATHS} - {None}))
def test_a_platform_is_its_charts_profile_and_nothing_else(pair: Pair, platform: str) -> None:
    """The same as the values of the charts' own file, given by hand."""
    charts, meshlab = charts_folder(pair.istio), pair.program("meshlab")
    by_hand = []
    for each in charts_of(settings_of(istio={"platform": platform})):
        folder = FOLDERS[each.name]
        file = charts / folder / "files" / f"profile-platform-{platform}.yaml"
        values = combined(yaml.safe_load(file.read_text()), each.values)
        values["global"] = {k: v for k, v in values["global"].items() if k != "platform"}
        by_hand += chart(meshlab, each.release, folder, values)
    named = rendered(pair, istio={"platform": platform})
    assert without_the_name(named) == without_the_name(by_hand)
    assert without_the_name(named) != without_the_name(rendered(pair)), "a profile of nothing"


def without_the_name(objects: list[Json]) -> list[Json]:
    """Leave out where Istio's programs are told the platform, and what its name alone adds."""
    for each in objects:
        data = each.get("data", {})
        for key in {"values", "merged-values", "original-values"} & data.keys():
            del data[key]
        spec = each.get("spec", {}).get("template", {}).get("spec", {})
        for container in spec.get("containers", ()):
            environment = container.get("env", [])
            container["env"] = [one for one in environment if one["name"] != "PLATFORM"]
        # The right to the SCC, see below.
        rules = each.get("rules") or []
        if each["kind"] == "ClusterRole":
            each["rules"] = [one for one in rules if one["apiGroups"] != [SCC_GROUP]]
    return objects


@pytest.mark.parametrize("platform", WITHOUT_PROFILE)
def test_a_platform_without_a_profile_adds_nothing(pair: Pair, platform: str) -> None:
    """The charts refuse a name that they do not know."""
    assert rendered(pair, istio={"platform": platform}) == rendered(pair)
    assert not [*charts_folder(pair.istio).rglob(f"profile-platform-{platform}.yaml")]


def test_openshift_needs_no_right_of_the_crawlers_pods(pair: Pair) -> None:
    """Multus runs the plugin for each pod with the annotation of the injector, which takes the
    sidecar's user from the namespace's range; the agent alone is privileged."""
    objects = rendered(pair, istio={"platform": "openshift"})
    (network,) = of_kind(objects, "NetworkAttachmentDefinition")
    assert (network["metadata"]["namespace"], network["metadata"]["name"]) == PLUGIN_OF_MULTUS
    injector = injector_of(objects)
    assert json.loads(injector["values"])["pilot"]["cni"]["provider"] == "multus"
    assert "/".join(PLUGIN_OF_MULTUS) in injector["config"]
    allowed = [
        (each["metadata"]["name"], rule["resourceNames"])
        for each in of_kind(objects, "ClusterRole")
        for rule in each.get("rules") or ()
        if rule["apiGroups"] == [SCC_GROUP]
    ]
    assert allowed == [("istio-cni", ["privileged"])]
    (agent,) = of_kind(objects, "DaemonSet")
    (container,) = agent["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["seLinuxOptions"] == {"type": "spc_t"}
    (istiod,) = of_kind(objects, "Deployment")
    pod = istiod["spec"]["template"]["spec"]
    for context in (pod.get("securityContext", {}), pod["containers"][0]["securityContext"]):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()


@pytest.mark.parametrize("platform", [None, "k3s", "gke"])
def test_a_path_of_the_stack_wins(pair: Pair, platform: str | None) -> None:
    """A platform's own values replace what does not stand below `cni`."""
    values = {"cni": {"cni": {"cniBinDir": "/own/bin"}}}
    istio = {"values": values, **({"platform": platform} if platform else {})}
    (agent,) = of_kind(rendered(pair, istio=istio), "DaemonSet")
    volumes = agent["spec"]["template"]["spec"]["volumes"]
    (path,) = [each["hostPath"]["path"] for each in volumes if each["name"] == "cni-bin-dir"]
    assert path == "/own/bin"


@pytest.mark.parametrize("replicas", [1, 2, 9])
def test_two_istiods_have_a_budget(pair: Pair, replicas: int) -> None:
    """Else a drain of two nodes takes both."""
    objects = rendered(pair, istio={"istiod": {"replicas": replicas}})
    (scaler,) = of_kind(objects, "HorizontalPodAutoscaler")
    # Kubernetes refuses a scaler whose most is less than its least.
    bounds = (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"])
    assert bounds == (replicas, max(5, replicas))
    budgets = of_kind(objects, "PodDisruptionBudget")
    assert [each["spec"]["minAvailable"] for each in budgets] == [1] * (replicas > 1)


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
    # The sidecar's images, also of its init containers, are these names after the hub.
    values = json.loads(injector_of(objects)["values"])["global"]
    assert values["hub"] == "registry.example/mirror/registry.istio.io/release"
    assert not [name for name in (values["proxy"], values["proxy_init"]) if "/" in name["image"]]
    accounts = {
        each["metadata"]["name"]: each.get("imagePullSecrets")
        for each in of_kind(objects, "ServiceAccount")
    }
    assert accounts["istiod"] == accounts["istio-cni"] == [{"name": "registry"}]


def test_two_control_planes_share_no_object() -> None:
    """Helm refuses an object of another release, and a Service must find its own istiod alone."""
    vendors = [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]
    new = {"revision": "1-31", "version": "1.31.4"}
    istio = {"version": "1.30.2", "otherRevision": new, "istiod": {"replicas": 2}}
    settings = parse_settings({"cluster": "dev", "vendors": vendors, "istio": istio})
    objects = [
        one
        for each in charts_of(settings)
        for one in chart(
            pair_of(str(each.version)).program("meshlab"),
            each.release,
            FOLDERS[each.name],
            each.values,
        )
    ]
    names = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects
    ]
    assert len(set(names)) == len(names)
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in of_kind(objects, "Deployment")]
    selectors = [
        *(one["spec"]["selector"] for one in of_kind(objects, "Service")),
        *(
            one["spec"]["selector"]["matchLabels"]
            for kind in ("Deployment", "PodDisruptionBudget")
            for one in of_kind(objects, kind)
        ),
    ]
    assert len(selectors) == 6
    for selector in selectors:
        assert sum(selector.items() <= labels.items() for labels in pods) == 1, selector
