"""What a stack's crawlers get: mesh, namespaces, attribution, and what is refused before."""

from __future__ import annotations

import json

import pytest

from components.attribution import guard
from components.attribution.render import SPLIT_ABOVE_BYTES
from components.prometheus.estimate import estimate
from render.manifests import RELEASE_TYPE
from render.program import Run
from render.program import run_program as run_with
from settings.loading import SettingsError
from tests.program.conftest import OPERATOR, named, shipped

SHOPS = [{"name": "shops", "hosts": ["shop.example"]}]


def istiod_of(run: Run):
    (istiod,) = [r for r in run.of_type(RELEASE_TYPE) if r.name.startswith("mesh-istiod")]
    return istiod.inputs


def filters_of(run: Run):
    return {f.inputs["metadata"]["name"]: f for f in run.of_kind("EnvoyFilter")}


def waits_for(run: Run, resource) -> set[str]:
    """The EnvoyFilters that must be there before this one."""
    by_urn = {other.urn: name for name, other in filters_of(run).items()}
    return {by_urn[urn] for urn in resource.dependencies if urn in by_urn}


OURS = {"monitoring", "proxy-vendors", "crawlers"}


@pytest.mark.parametrize("prometheus", ["dev", "prod", "operator"])
def test_an_istio_that_was_there_is_left_alone(variant, prometheus):
    """With `install: false` nothing is made outside the crawlers' namespaces and our own.

    What is in no namespace has names of ours: else it could be another team's.
    """
    shape = {"prometheus": OPERATOR, "alertmanager": None} if prometheus == "operator" else {}
    stack = "dev" if prometheus == "operator" else prometheus
    run = variant(stack, istio={"install": False, "cni": True}, **shape)
    assert run.of_type(RELEASE_TYPE) == ()
    assert named(run, "Namespace") <= OURS
    assert run.of_kind("EnvoyFilter")
    made = [one for one in run.resources if one.kind and one.kind != "Namespace"]
    assert {one.namespace for one in made if one.namespace} <= OURS
    alone = {one.inputs["metadata"]["name"] for one in made if not one.namespace}
    assert {name for name in alone if not name.startswith("proxy-")} == set()
    # Nor the Sidecar of a namespace, of which there can be but one, nor istiod's alerts.
    assert run.of_kind("Sidecar") == ()
    assert "alert: IstiodDown" not in json.dumps([one.inputs for one in run.of_kind("ConfigMap")])
    optional = run.outputs["optionalIstioValues"]
    assert optional["meshConfig"]["defaultConfig"] == {"holdApplicationUntilProxyStarts": True}


def test_istiod_of_others_is_scraped_if_asked(variant):
    """For IstiodConfigRejected: it takes a Role in their namespace, and nothing else."""
    run = variant("prod", istio={"install": False, "cni": True, "scrapeIstiod": True})
    theirs = [one for one in run.resources if one.namespace == "istio-system"]
    assert {one.kind for one in theirs} == {"Role", "RoleBinding"}


@pytest.mark.parametrize(
    ("more", "makes"),
    [
        ({"crawlers": {"sidecarResource": "create"}}, True),
        ({"crawlers": {"egressHosts": ["shop/*"]}}, True),
        ({"network": {"egress": "vendorsOnly"}}, True),
        ({}, False),
    ],
)
def test_a_sidecar_of_ours_where_the_stack_asks_for_one(variant, more, makes):
    run = variant("prod", istio={"install": False, "cni": True}, **more)
    assert bool(run.of_kind("Sidecar")) is makes


def test_crawlers_namespaces_that_were_there_get_one_label(variant):
    """Their owner's labels, and their end, are none of the program's business."""
    run = variant("prod", crawlers={"createNamespaces": False})
    assert named(run, "Namespace") == {"monitoring", "istio-system"}
    (patch,) = run.of_kind("NamespacePatch")
    assert patch.inputs["kind"] == "Namespace"
    assert patch.inputs["metadata"] == {
        "name": "crawlers",
        "labels": {"istio-injection": "enabled"},
    }
    # What is put there still waits for it.
    (sidecar,) = run.of_kind("Sidecar")
    assert sidecar.namespace == "crawlers"
    assert patch.urn in sidecar.dependencies


@pytest.mark.parametrize(
    ("source", "chart", "repository"),
    [
        ("https://charts.example/istio", "istiod", {"repo": "https://charts.example/istio"}),
        ("oci://charts.example/istio/", "oci://charts.example/istio/istiod", None),
        ("./charts/", "./charts/istio-control/istio-discovery", None),
    ],
)
def test_charts_come_from_where_the_stack_says(variant, source, chart, repository):
    """A mirror of either kind, or a folder; a version is pinned wherever there can be several."""
    run = variant("prod", istio={"chartSource": source})
    istiod = istiod_of(run)
    assert istiod["chart"] == chart
    assert istiod.get("repositoryOpts") == repository
    version = None if source.startswith(".") else run.settings.istio.version
    assert istiod.get("version") == version


def test_a_revision_injects_by_its_own_label(variant):
    """`istio-injection` beside `istio.io/rev` would call the default revision."""
    run = variant("prod", istio={"revision": "canary"})
    labels = run.only("Namespace", "crawlers")["metadata"]["labels"]
    assert labels["istio.io/rev"] == "canary"
    assert "istio-injection" not in labels
    assert istiod_of(run)["values"]["revision"] == "canary"
    assert istiod_of(run)["name"] == "istiod-canary"


def test_several_namespaces_of_crawlers(variant):
    """Each gets attribution, sidecars, and Prometheus's leave to look."""
    names = ["crawlers", "crawlers-eu"]
    run = variant("prod", crawlers={"namespaces": names})
    for name in names:
        assert len([f for f in run.of_kind("EnvoyFilter") if f.namespace == name]) == 5
        assert any(role.namespace == name for role in run.of_kind("Role"))
    assert len({resource.urn for resource in run.resources}) == len(run.resources)


def test_what_envoy_refuses_is_not_deployed(monkeypatch):
    """The guard stands in the program: a preview ends with its sentence, and no traceback."""
    monkeypatch.setattr(guard, "_validated", lambda envoy, bootstrap: "no such field")
    with pytest.raises(SettingsError) as refused:
        run_with("prod", shipped("prod"))
    assert refused.value.findings == (
        "EnvoyFilters: Envoy refuses them (no such field); "
        "this is a defect of the program, report it",
    )


def test_vendors_that_share_addresses_are_there_before_what_they_share(edited):
    """Its chains lead to their clusters: without one a request would get 503.

    The labels are there before every chain: without them a sidecar waits, and then counts nothing.
    """

    def share(keys):
        keys["vendors"][0].update(cidrs=["10.1.0.0/16"], ports=[3128])
        keys["vendors"][1].update(
            cidrs=["10.1.0.0/16"], ports=["4000-4999"], httpPorts=["4000-4999"]
        )

    run = run_with("prod", edited("prod", share))
    waiting = {name: waits_for(run, one) for name, one in filters_of(run).items()}
    assert {name: names for name, names in waiting.items() if names} == {
        "proxy-shared-vendor-a.vendor-b": {
            *("proxy-labels", "proxy-vendor-vendor-a", "proxy-vendor-vendor-b"),
        },
        "proxy-vendor-vendor-c": {"proxy-labels"},
    }


def test_the_passive_module_is_there_before_its_chains(edited):
    """It is stored once in each namespace, and `destroy` takes it away last."""

    def read_passively(keys) -> None:
        keys["vendors"][0].update(inspect="passive")
        keys["crawlers"] = {"namespaces": ["crawlers", "more-crawlers"]}

    run = run_with("prod", edited("prod", read_passively))
    filters = {
        (one.namespace, one.inputs["metadata"]["name"]): one for one in run.of_kind("EnvoyFilter")
    }
    for namespace in ("crawlers", "more-crawlers"):
        module = filters[namespace, "proxy-passive"]
        assert module.urn in filters[namespace, "proxy-vendor-vendor-a"].dependencies


def test_a_vendor_of_ten_thousand_ranges_is_stored_in_parts(edited, in_file):
    """Each far below what etcd takes; the one with the cluster comes first and leaves last."""
    path = edited("prod", in_file([f"11.{n // 200}.{n % 200}.1" for n in range(10_000)]))
    run = run_with("prod", path)
    filters = filters_of(run)
    parts = {f"proxy-vendor-vendor-a.chain-{number}" for number in range(8)}
    assert filters.keys() == {
        *("proxy-labels", "proxy-observability"),
        *(f"proxy-vendor-{vendor.name}" for vendor in run.settings.vendors),
        *parts,
    }
    assert (
        max(len(json.dumps(one.inputs)) for one in filters.values()) < SPLIT_ABOVE_BYTES + 1000
    )  # with metadata
    whole = {"proxy-vendor-vendor-b", "proxy-vendor-vendor-c"}
    assert {name for name, one in filters.items() if waits_for(run, one)} == parts | whole
    assert {name for part in parts for name in waits_for(run, filters[part])} == {
        *("proxy-labels", "proxy-vendor-vendor-a"),
    }


def test_targets_of_the_stack_reach_envoy_and_the_estimate(variant, run_program):
    """A group of sites is a label of every request, and multiplies the series."""
    for name, one in filters_of(variant("prod", targets=SHOPS)).items():
        assert ("proxy_target" in json.dumps(one.inputs)) is (name != "proxy-observability")
    few = estimate(run_program("prod").settings).sidecar.total
    variant("prod", telemetry={"seriesBudget": few})
    with pytest.raises(SettingsError, match=rf"telemetry\.seriesBudget: {few} is less than"):
        variant("prod", telemetry={"seriesBudget": few}, targets=SHOPS)


def test_the_kill_switch_lowers_what_is_expected_and_no_limit(variant, run_program):
    """Its own diff stays small, and the way back to `full` is never refused."""
    full, off = run_program("prod"), variant("prod", crawlers={"mode": "off"})
    series = [run.outputs["expected"]["seriesPerSidecar"] for run in (full, off)]
    assert series[1] * 3 < series[0]
    limits = [estimate(run.settings).sidecar.total for run in (full, off)]
    assert limits == [series[0], series[0]]


def test_services_that_crawlers_call_stay_known(variant):
    """Every namespace's Sidecar lets through what the stack file lists."""
    spec = variant("prod", crawlers={"egressHosts": ["data/*"]}).only("Sidecar")["spec"]
    assert spec["egress"] == [{"hosts": ["./*", "data/*"]}]


def test_one_run_does_not_see_another(run_program):
    """The recorded program is the same however often it ran in this process."""
    first, again = run_program("dev"), run_with("dev", shipped("dev"))
    assert again.resources == first.resources
    assert again.outputs == first.outputs


def test_a_name_leads_to_a_virtual_address_once_all_filters_are_there(edited):
    """`destroy` takes the names away first: unlisted ports work only through our chains."""

    def by_name(keys) -> None:
        del keys["vendors"][0]["cidrs"]
        keys["vendors"][0]["hosts"] = [
            "gw.vendor.example",
            {"name": "old.example", "retired": True},
        ]
        keys["crawlers"] = {"namespaces": ["crawlers", "more"], "selector": {"app": "crawler"}}

    run = run_with("prod", edited("prod", by_name))
    entries = run.of_kind("ServiceEntry")
    assert {(one.namespace, one.inputs["metadata"]["name"]) for one in entries} == {
        ("crawlers", "proxy-name-gw.vendor.example"),
        ("more", "proxy-name-gw.vendor.example"),
    }
    for entry in entries:
        filters = {f.urn for f in run.of_kind("EnvoyFilter") if f.namespace == entry.namespace}
        assert filters <= entry.dependencies
    for config in run.of_kind("ProxyConfig"):
        assert config.inputs["apiVersion"] == "networking.istio.io/v1beta1"
        assert config.inputs["spec"]["selector"] == {"matchLabels": {"app": "crawler"}}
    assert {one.namespace for one in run.of_kind("ProxyConfig")} == {"crawlers", "more"}
    # The stack has no name: nobody's DNS is touched.
    (config,) = run_with("prod", shipped("prod")).of_kind("ProxyConfig")
    assert "ISTIO_META_DNS_CAPTURE" not in config.inputs["spec"]["environmentVariables"]


def test_strangers_are_refused_once_every_vendor_is_there(edited):
    """The Sidecar came first, and refused the vendors of running crawlers until the rest came."""

    def vendors_only(keys) -> None:
        del keys["vendors"][0]["cidrs"]
        keys["vendors"][0]["hosts"] = ["gw.vendor.example"]
        keys["network"]["egress"] = "vendorsOnly"

    run = run_with("prod", edited("prod", vendors_only))
    (sidecar,) = run.of_kind("Sidecar")
    assert sidecar.inputs["spec"]["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}
    vendors = {one.urn for kind in ("EnvoyFilter", "ServiceEntry") for one in run.of_kind(kind)}
    assert vendors <= sidecar.dependencies


def test_what_is_denied_is_allowed_before(edited):
    """A running Prometheus would be cut from what the policies that come later allow."""

    def vendors_only(keys) -> None:
        keys["network"]["egress"] = "vendorsOnly"

    run = run_with("prod", edited("prod", vendors_only))
    policies = run.of_kind("NetworkPolicy")
    denying = {one.urn: one for one in policies if one.inputs["metadata"]["name"] == "default-deny"}
    allowing = {one.urn for one in policies} - denying.keys()
    assert denying
    assert all(allowing <= one.dependencies for one in denying.values())


def test_sidecars_answer_dns_before_the_first_name_if_asked_to(variant):
    """Pods that start now need no second restart once a name comes."""
    run = variant("prod", crawlers={"dnsCapture": True})
    (config,) = run.of_kind("ProxyConfig")
    assert config.inputs["spec"]["environmentVariables"]["ISTIO_META_DNS_CAPTURE"] == "true"
    assert run.of_kind("ServiceEntry") == ()
