"""What clusters of public bug reports hold, as `make preflight` reads it."""

from __future__ import annotations

import pytest

from preflight.checks import results
from preflight.objects import Objects
from tests.preflight.clusters import injector, istiod, objects, one, said, stack

REVISION = "istio.io/rev"
OURS = {"createNamespaces": False, "egressHosts": ["queues/*"]}
"""A list of services asks for a Sidecar of ours."""


def limit_range(**item):
    return one("LimitRange", "own", "crawlers", spec={"limits": [{"type": "Container", **item}]})


def quota(**hard):
    return one("ResourceQuota", "all", "crawlers", spec={"hard": hard}, status={"used": {}})


def values(resources):
    text = f'{{"global": {{"proxy": {{"resources": {resources}}}}}}}'
    return one("ConfigMap", "istio-sidecar-injector", "istio-system", data={"values": text})


CHARTS = values(
    '{"requests": {"cpu": "100m", "memory": "128Mi"},'
    ' "limits": {"cpu": "2000m", "memory": "1024Mi"}, "claims": [{"name": "gpu"}]}'
)
AKS = "aks-istio-system"
ISTIOD_OF_AKS = istiod("mcr.microsoft.com/oss/istio/pilot:1.30.1-distroless", "asm-1-30", AKS)
ISTIOD_OF_AKS["spec"]["template"]["spec"]["containers"][0]["env"] = [
    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    {"name": "SHARED_MESH_CONFIG", "value": "istio-shared-configmap-asm-1-30"},
]
ENDING = one("Namespace", "crawlers")
ENDING["metadata"]["deletionTimestamp"] = "2026-11-30T08:00:00Z"

CASES = {
    # istio/istio#14835: the chart's sidecar requests 100m and is limited to 2 CPUs.
    "too large a ratio": (
        {},
        [CHARTS, limit_range(maxLimitRequestRatio={"cpu": "10"}, max={"cpu": "2e3m"})],
        "refuse: LimitRange crawlers/own: allows a container a limit of cpu of 10 requests, and a "
        "sidecar requests 100m and is limited to 2000m, so no pod with one starts; change it, or "
        "annotate the pods with sidecar.istio.io/proxyCPU, proxyMemory",
    ),
    "too little": (
        {},
        [CHARTS, limit_range(min={"memory": "1e9", "cpu": "100000u"})],
        "refuse: LimitRange crawlers/own: allows a container no less memory than 1e9, and a "
        "sidecar requests 128Mi",
    ),
    # istio/istio#21757, deckhouse/deckhouse#8919.
    "a limit that nobody says": (
        {},
        [values('{"requests": {"cpu": "200m"}}'), quota(**{"limits.cpu": "1e3"})],
        "refuse: ResourceQuota crawlers/all: wants limits.cpu of every container, and a sidecar "
        "has none, so no pod with one starts; annotate the pods with "
        "sidecar.istio.io/proxyCPU, proxyMemory",
    ),
    "a namespace that ends": (
        {},
        [ENDING],
        "refuse: Namespace crawlers: is being deleted, and takes no new objects",
    ),
    # learn.microsoft.com, "Configure the Istio add-on": users write the second ConfigMap alone.
    "AKS, closed": (
        {"istio": {"install": False, "revision": "asm-1-30", "rootNamespace": AKS}},
        [
            injector("istio-sidecar-injector-asm", {REVISION: "asm-1-30"}, REVISION, "asm-1-30"),
            ISTIOD_OF_AKS,
            one("Namespace", AKS),
            one("ConfigMap", "istio-asm-1-30", AKS, data={"mesh": "trustDomain: cluster.local"}),
            one(
                "ConfigMap",
                "istio-shared-configmap-asm-1-30",
                AKS,
                data={"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"},
            ),
        ],
        "warn: MeshConfig in aks-istio-system: outboundTrafficPolicy is REGISTRY_ONLY",
    ),
    "GKE, managed": (
        {"istio": {"install": False, "revision": "asm-managed-rapid"}},
        [
            injector(
                *("istiod-asm-managed-rapid", {REVISION: "asm-managed-rapid"}),
                *(REVISION, "asm-managed-rapid"),
            )
        ],
        "refuse: istiod: asm-managed-rapid is Google's managed control plane, which takes only "
        "HTTP filters of an EnvoyFilter",
    ),
    "STRICT on a port": (
        {"crawlers": OURS},
        [
            one(
                "PeerAuthentication",
                "ports",
                "shops",
                spec={
                    "selector": {"matchLabels": {"app": "shop"}},
                    "mtls": {"mode": "PERMISSIVE"},
                    "portLevelMtls": {"8080": {"mode": "STRICT"}, "9090": {"mode": "DISABLE"}},
                },
            )
        ],
        "warn: PeerAuthentication: STRICT in namespaces shops",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_way_is_named(case):
    sections, more, expected = CASES[case]
    (line,) = said(stack(**sections), objects(*more))
    assert line.startswith(expected)


FINE = {
    "quantities of every spelling": [
        CHARTS,
        quota(**{"limits.cpu": "1e3", "requests.memory": "5E", "cpu": "900000000000n"}),
        limit_range(
            min={"cpu": "0.1"},
            max={"cpu": "2"},
            maxLimitRequestRatio={"cpu": 20, "memory": "none"},
        ),
    ],
    "a LimitRange that says the limit": [
        values('{"requests": {"cpu": "200m"}}'),
        quota(**{"limits.cpu": "1e3"}),
        limit_range(default={"cpu": "1"}),
    ],
    "a default class of long ago": [
        one(
            "StorageClass",
            "standard",
            annotations={"storageclass.beta.kubernetes.io/is-default-class": "true"},
        )
    ],
}


@pytest.mark.parametrize("case", FINE)
def test_nothing_is_said_of_what_works(case):
    assert said(stack(), objects(*FINE[case])) == []


def test_without_the_webhooks_nobody_says_that_an_istio_is_good():
    """The ClusterRole `view` lists no webhooks, and they tell which istiod is the crawlers'."""
    hidden = "MutatingWebhookConfiguration"
    items = {kind: each for kind, each in objects().items.items() if kind != hidden}
    asked = results(stack(), Objects(items=items, denied={hidden: "webhooks"}), ())
    words = {each.name: each.line().split()[0] for each in asked}
    names = ("Istio", "injection", "mesh policy", "their DNS", "Pod Security", "room")
    assert {words[name] for name in names} == {"part"}
