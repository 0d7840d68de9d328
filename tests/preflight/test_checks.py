"""Each check names what stands in the way, and says nothing of a cluster where nothing does."""

from __future__ import annotations

import pytest

from preflight.checks import results
from preflight.objects import Objects
from preflight.rights import resource_of, wanted
from preflight.stack import Made
from tests.preflight.cases import (
    CASES,
    CREATE,
    INJECTED,
    ISTIO_RESOURCES,
    PART_OF,
    PATCH,
    REVISION,
    STATISTICS,
    TAG,
    config_map,
    egress,
    policy,
    proxy_config,
    quota,
    sidecar,
    strict,
)
from tests.preflight.clusters import (
    istiod,
    objects,
    one,
    pod,
    said,
    service,
    stack,
)


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_way_is_named(case):
    sections, more, wanted = CASES[case]
    found = said(stack(**sections), objects(*more))
    assert len(found) == 1, found
    assert found[0].startswith(wanted), found[0]
    assert "; " in found[0]


UNFOUND = {
    "as it is": ({}, []),
    "a tag of a right release": (
        {"istio": {"install": False, "revision": "prod"}},
        [
            TAG,
            istiod("pilot:1.30.2", "1-31"),
            one("Namespace", "crawlers", labels={REVISION: "prod"}),
        ],
    ),
    "both labels, where that of injection wins": (
        {},
        [one("Namespace", "crawlers", labels={REVISION: "x", "istio-injection": "enabled"})],
    ),
    "a Sidecar of other pods": (
        {"crawlers": CREATE},
        [sidecar(labels={"app": "queue"}, **egress("data/*"))],
    ),
    "a Sidecar whose hosts are listed": (
        {"crawlers": {**CREATE, "selector": {"app": "crawler"}}},
        [pod(labels={"app": "crawler"}), sidecar(**egress("./*", "queues/a.queues.svc"))],
    ),
    "a Sidecar that is left": ({}, [sidecar(**egress("./*", "data/*"))]),
    "our own Sidecar": (
        {"crawlers": CREATE},
        [one("Sidecar", "x", "crawlers", PART_OF, spec=egress("./*"))],
    ),
    "the default behind another": (
        {},
        [
            sidecar(**egress("./*")),
            sidecar(
                "d",
                "istio-system",
                **egress("./*"),
                outboundTrafficPolicy={"mode": "REGISTRY_ONLY"},
            ),
        ],
    ),
    # pilot/pkg/networking/core/listener.go listens at the Service's own address for these.
    "a Service that is sniffed": ({}, [service("proxy", "crawlers", {})]),
    "a Service that a Sidecar keeps out": (
        {},
        [sidecar(**egress("./*")), service("proxy", "shops", {"name": "http"})],
    ),
    "a Service that is not exported": (
        {},
        [
            service(
                "proxy",
                "shops",
                {"name": "http"},
                annotations={"networking.istio.io/exportTo": "."},
            )
        ],
    ),
    "a namespace that istiod does not discover": (
        {},
        [
            config_map("istio", "mesh", "discoverySelectors: [{matchLabels: {mesh: a}}]"),
            service("proxy", "shops", {"name": "http"}),
        ],
    ),
    "statistics of the mesh that the stack repeats": (
        {"telemetry": {"alsoExport": ["listener*"]}},
        [config_map("istio", "mesh", STATISTICS)],
    ),
    "a patch for pods that are no crawlers": (
        {"crawlers": {"createNamespaces": False, "selector": {"app": "crawler"}}},
        [
            pod(labels={"app": "crawler"}),
            pod("web-1", labels={"app": "web", "sidecar.istio.io/inject": "false"}),
            one(
                "EnvoyFilter",
                "web",
                "crawlers",
                spec={"workloadSelector": {"labels": {"app": "web"}}, "configPatches": [PATCH]},
            ),
        ],
    ),
    "a vendor's port in another namespace, by an alias": (
        {},
        [service("alias", "shops", {"name": "http"}, type="ExternalName")],
    ),
    # istiod's webhooks do not read it, and ztunnel leaves out a pod with a sidecar.
    "a pod in ambient mode, which gets a sidecar": (
        {},
        [pod(labels={"istio.io/dataplane-mode": "ambient"})],
    ),
    "STRICT, and mTLS stays": ({}, [strict("istio-system")]),
    "STRICT of a listed namespace": (
        {"crawlers": {**CREATE, "egressHosts": ["shops/*"]}},
        [strict("shops")],
    ),
    "PERMISSIVE below STRICT": (
        {"crawlers": CREATE},
        [
            strict("istio-system"),
            one("PeerAuthentication", "x", "shops", spec={"mtls": {"mode": "PERMISSIVE"}}),
        ],
    ),
    "a ProxyConfig of some pods": (
        {},
        [proxy_config(selector={"matchLabels": {"app": "x"}})],
    ),
    "sidecars that other pods have": (
        {"crawlers": {"createNamespaces": False, "selector": {"observed": "yes"}}},
        [INJECTED, pod(labels={"observed": "yes"}), pod("queue-1")],
    ),
    "room": (
        {},
        [quota(cpu="1500m"), config_map("istio-sidecar-injector", "values", ISTIO_RESOURCES)],
    ),
    "a policy that admits Prometheus": (
        {},
        [
            policy(
                "Ingress",
                {
                    "from": [
                        {
                            "namespaceSelector": {
                                "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
                            }
                        }
                    ],
                    "ports": [{"port": 15090}],
                },
            )
        ],
    ),
    "a policy by address, which may be anybody's": (
        {},
        [policy("Egress", {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]})],
    ),
}


@pytest.mark.parametrize("case", UNFOUND)
def test_nothing_is_said_of_what_works(case):
    sections, more = UNFOUND[case]
    assert said(stack(**sections), objects(*more)) == []


def test_a_stack_that_is_deployed_has_nothing_in_its_way():
    """Its own namespaces, istiod and CRDs are no other team's."""
    release = {"meta.helm.sh/release-name": "istio-base"}
    release["meta.helm.sh/release-namespace"] = "istio-system"
    crd = "envoyfilters.networking.istio.io"
    own = [
        one("Namespace", name, labels=PART_OF)
        for name in ("crawlers", "monitoring", "istio-system")
    ]
    crds = one("CustomResourceDefinition", crd, annotations=release)
    assert said(stack(crawlers=None, istio=None, prometheus=None), objects(*own, crds)) == []


@pytest.mark.parametrize(
    ("istio", "said_of"),
    [
        ({}, []),
        ({"otherRevision": {"revision": "1-30", "version": "1.30.2"}}, []),
        ({"revision": "1-31"}, ["default"]),
        (
            {
                "revision": "1-31",
                "otherRevision": {"revision": "default", "version": "1.30.2"},
            },
            [],
        ),
    ],
    ids=["only", "beside", "replaced", "swapped"],
)
def test_a_sidecar_that_would_lose_its_istiod_is_named(istio, said_of):
    """An upgrade that ends too early; another team's revisions are not known."""
    own = [
        one("Namespace", name, labels=PART_OF)
        for name in ("crawlers", "monitoring", "istio-system")
    ]
    crawler = pod(annotations={REVISION: "default"})
    found = objects(*own, crawler, without="CustomResourceDefinition")
    lines = said(stack(crawlers=None, istio=istio, prometheus=None), found)
    assert len(lines) == len(said_of)
    assert all(f"has a sidecar of revision {one}" in lines[n] for n, one in enumerate(said_of))
    assert said(stack(), objects(pod(annotations={REVISION: "1-29"}))) == []


def test_a_bare_cluster_is_ready_for_an_istio_of_ours():
    bare = objects(
        one("Namespace", "istio-system", labels=PART_OF),
        without="Deployment",
        absent=("EnvoyFilter",),
    )
    assert said(stack(istio=None), bare) == []
    (line,) = said(stack(), bare)
    assert line.startswith("refuse: istio.install: is false, and the cluster knows no EnvoyFilter")


def test_what_another_istio_left_is_told():
    """Helm would refuse the whole release: "invalid ownership metadata"."""
    crd = one("CustomResourceDefinition", "envoyfilters.networking.istio.io")
    found = objects(one("Namespace", "istio-system", labels=PART_OF), crd, without="Deployment")
    (line,) = said(stack(istio=None), found)
    assert "belongs to no Helm release" in line


def test_kinds_of_operators_that_are_not_there():
    operator = {
        "mode": "operator",
        "url": "http://p.monitoring.svc",
        "operatorLabels": {},
        "createNamespace": False,
    }
    asked = stack(prometheus=operator)
    made = frozenset(
        Made(group="g", kind=kind, namespace="") for kind in ("PodMonitor", "PrometheusRule")
    )
    asked = type(asked)(settings=asked.settings, plan=asked.plan, made=made)
    none = ("PodMonitor", "PrometheusRule", "Prometheus", "PrometheusAgent")
    (line,) = said(asked, objects(absent=none))
    assert "PodMonitor: the cluster does not know this kind; prometheus.mode: operator" in line


def test_snapshots_need_their_kinds():
    asked = stack(prometheus={"createNamespace": False, "backup": {}})
    (line,) = said(asked, objects(absent=("VolumeSnapshotClass",)))
    assert line.startswith("refuse: prometheus.backup: needs VolumeSnapshots")


def test_an_old_kubernetes():
    found = objects(one("Namespace", "istio-system", labels=PART_OF))
    old = Objects(items=found.items, version="v1.29.4+k3s1")
    (line,) = said(stack(istio=None), old)
    assert line.startswith("warn: Kubernetes v1.29.4+k3s1: is older than Istio supports")


def test_a_thousand_services_are_ten_lines_and_a_number():
    many = [service(f"s-{n:04}", "shops", {"name": "http"}) for n in range(1000)]
    found = said(stack(), objects(*many))
    assert len(found) == 11
    assert "990 more" in found[-1]


def test_a_kind_that_may_not_be_listed_is_said_and_leaves_the_rest():
    """A right that lacks is no fault of the cluster, and no reason to say nothing."""
    found = objects(one("Namespace", "crawlers", labels={"istio.io/dataplane-mode": "ambient"}))
    items = {kind: each for kind, each in found.items.items() if kind != "StorageClass"}
    denied = {"StorageClass": "storageclasses.storage.k8s.io", "Service": "services in all"}
    asked = {
        each.name: each
        for each in results(stack(), Objects(items=items, denied=denied), ())
        if each.findings or each.unasked
    }
    assert [each.level for each in asked["namespaces"].findings] == ["refuse"]
    assert asked["storage"].unasked == ["storageclasses.storage.k8s.io"]
    assert not asked["storage"].findings
    assert asked["vendors' ports"].unasked == ["services in all"]


def test_rights_are_told_by_place_the_whole_cluster_first():
    asked = stack(istio=None)
    first = [one.namespace for one in wanted(asked)]
    assert first == sorted(first, key=bool)
    missing = (
        Made(group="rbac.authorization.k8s.io", kind="ClusterRole", namespace=""),
        Made(group="networking.k8s.io", kind="NetworkPolicy", namespace="crawlers"),
        Made(group="networking.k8s.io", kind="NetworkPolicy", namespace="monitoring"),
    )
    lines = said(stack(), objects(), missing)
    assert lines[0].startswith(
        "refuse: rights: this user may not create clusterroles.rbac.authorization.k8s.io in the "
        "whole cluster, and `up` does; "
    )
    assert "networkpolicies.networking.k8s.io in namespace crawlers, and" in lines[1]
    assert resource_of("ServiceEntry") == "serviceentries"
