"""What stands in a stack's way: the stack, the cluster and the finding of each check."""

from __future__ import annotations

import json

from tests.preflight.clusters import (
    injector,
    istiod,
    one,
    pod,
    service,
)

PART_OF = {"app.kubernetes.io/part-of": "proxy-observability"}
REVISION = "istio.io/rev"
CREATE = {"createNamespaces": False, "egressHosts": ["queues/*"]}
"""A list of services asks for a Sidecar of ours."""
TAG = injector(
    "istio-revision-tag-prod", {REVISION: "1-31", "istio.io/tag": "prod"}, REVISION, "prod"
)
NEW = istiod("pilot:1.30.2", "1-31")
OLD = istiod("gcr.io/istio/pilot:1.28.3", "1-31")


def sidecar(name="default", namespace="crawlers", labels=None, **spec):
    selector = {"workloadSelector": {"labels": labels}} if labels else {}
    return one("Sidecar", name, namespace, spec={**selector, **spec})


def egress(*hosts, **more):
    return {"egress": [{"hosts": [*hosts], **more}]}


def strict(namespace):
    return one("PeerAuthentication", "default", namespace, spec={"mtls": {"mode": "STRICT"}})


def policy(kind, *rules):
    spec = {"podSelector": {}, "policyTypes": [kind], kind.lower(): [*rules]}
    return one("NetworkPolicy", "closed", "crawlers", spec=spec)


def config_map(name, key, text):
    return one("ConfigMap", name, "istio-system", data={key: text})


def proxy_config(**spec):
    return one("ProxyConfig", "theirs", "crawlers", spec=spec)


def quota(**hard):
    return one(
        "ResourceQuota", "all", "crawlers", spec={"hard": hard}, status={"used": {"cpu": "900m"}}
    )


ISTIO_RESOURCES = json.dumps({"global": {"proxy": {"resources": {"requests": {"cpu": "200m"}}}}})
NO_CNI = config_map("istio-sidecar-injector", "values", '{"pilot": {"cni": {"enabled": false}}}')
STATISTICS = "defaultConfig: {proxyStatsMatcher: {inclusionRegexps: [listener.*]}}"
PATCH = {
    "applyTo": "NETWORK_FILTER",
    "match": {"context": "SIDECAR_OUTBOUND", "listener": {"name": "virtualOutbound"}},
}
OPTED_OUT = {"sidecar.istio.io/inject": "false"}
INJECTED = one("Namespace", "crawlers", labels={"istio-injection": "enabled"})
ENTRY = {"hosts": ["a.shops.test"], "ports": [{"number": 3128, "protocol": "HTTP"}]}

# What the stack says, what the cluster has besides, and what is found.
CASES = {
    "ambient": (
        {},
        [one("Namespace", "crawlers", labels={"istio.io/dataplane-mode": "ambient"})],
        "refuse: Namespace crawlers: is in ambient mode, where nothing names vendors, and the "
        "stack's label would take every pod out of it as it restarts",
    ),
    "missing namespace": (
        {"crawlers": {"namespaces": ["crawl"], "createNamespaces": False}},
        [],
        "refuse: Namespace crawl: does not exist, and the stack does not make it",
    ),
    "others' crawlers": (
        {"crawlers": None, "istio": {"install": False, "cni": True}},
        [],
        "refuse: Namespace crawlers: is another's, and `up` would take its labels and close it by "
        "NetworkPolicies; set crawlers.createNamespaces: false",
    ),
    "others' monitoring": (
        {"prometheus": None},
        [],
        "refuse: Namespace monitoring: is another's, and `up` would take its labels and close it "
        "by NetworkPolicies; set prometheus.createNamespace: false",
    ),
    "a revision's namespace": (
        {},
        [TAG, one("Namespace", "crawlers", labels={REVISION: "prod"})],
        "refuse: Namespace crawlers: has istio.io/rev=prod, over which the stack's "
        "istio-injection=enabled would win; set istio.revision: prod",
    ),
    "another revision's namespace": (
        {"istio": {"install": False, "revision": "prod"}},
        [TAG, NEW, one("Namespace", "crawlers", labels={REVISION: "default"})],
        "refuse: Namespace crawlers: has istio.io/rev=default, and `up` would end with a conflict",
    ),
    "both labels": (
        {"istio": {"install": False, "revision": "prod"}},
        [TAG, one("Namespace", "crawlers", labels={"istio-injection": "enabled"})],
        "refuse: Namespace crawlers: has istio-injection=enabled, with which istio.io/rev=prod "
        "does nothing; remove that label, or set istio.revision: default",
    ),
    "injection disabled": (
        {},
        [one("Namespace", "crawlers", labels={"istio-injection": "disabled"})],
        "refuse: Namespace crawlers: has istio-injection=disabled, and `up` would end with a "
        "conflict",
    ),
    "unknown revision": (
        {"istio": {"install": False, "revision": "canary"}},
        [TAG],
        "refuse: Namespace crawlers: no MutatingWebhookConfiguration injects sidecars where "
        "istio.io/rev=canary; set istio.revision to one of default, prod",
    ),
    "old Istio behind a tag": (
        {"istio": {"install": False, "revision": "prod"}},
        [TAG, OLD],
        "refuse: Deployment istio-system/istiod: is Istio 1.28.3, whose sidecars would not be "
        "attributed",
    ),
    "istiod elsewhere": (
        {"istio": {"install": False, "rootNamespace": "mesh"}},
        [one("Namespace", "mesh")],
        "refuse: Deployment istio-system/istiod: is not in istio.rootNamespace mesh; set "
        "istio.rootNamespace: istio-system",
    ),
    "unknown release": (
        {},
        [istiod("registry.example/pilot@sha256:00")],
        "warn: Deployment istio-system/istiod: its image names no release",
    ),
    "a chart of no release": (
        {},
        [
            one(
                "Deployment",
                "istiod",
                "istio-system",
                {REVISION: "default", "app.kubernetes.io/version": "1.0.0"},
                spec=istiod("registry.example/pilot:mesh")["spec"],
            )
        ],
        "warn: Deployment istio-system/istiod: its image names no release",
    ),
    "another's istiod": (
        {"istio": None},
        [],
        "refuse: Deployment istio-system/istiod: is another's, and istio.install is true",
    ),
    "mesh closes": (
        {},
        [config_map("istio", "mesh", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}")],
        "warn: MeshConfig in istio-system: outboundTrafficPolicy is REGISTRY_ONLY",
    ),
    "the mesh exports statistics": (
        {},
        [config_map("istio", "mesh", STATISTICS)],
        "warn: MeshConfig in istio-system: proxyStatsMatcher.inclusionRegexps has listener.*, in "
        "whose place crawlers' sidecars would export this program's statistics; name those",
    ),
    "two Sidecars": (
        {"crawlers": CREATE},
        [sidecar(**egress("./*", "queues/*", "data/redis.data.svc.cluster.local"))],
        "refuse: Sidecar crawlers/default: selects crawlers as ours would, and istiod takes one of "
        "the two; set crawlers.sidecarResource: none, or remove it and set crawlers.egressHosts: "
        '["queues/*", "data/redis.data.svc.cluster.local"]',
    ),
    "a Sidecar for crawlers' label": (
        {"crawlers": CREATE},
        [pod(labels={"tier": "a"}), sidecar(labels={"tier": "a"}, **egress("./*"))],
        "refuse: Sidecar crawlers/default: selects crawlers as ours would",
    ),
    "ours goes before theirs": (
        {"crawlers": {**CREATE, "selector": {"app": "crawler"}}},
        [pod(labels={"app": "crawler"}), sidecar(**egress("data/*"))],
        "refuse: Sidecar crawlers/default: ours has a selector and would take crawlers from it; "
        'set crawlers.egressHosts: ["queues/*", "data/*"], or set crawlers.sidecarResource: none',
    ),
    "theirs has listeners": (
        {"crawlers": CREATE},
        [sidecar(**egress("./*", port={"number": 9080, "protocol": "HTTP"}))],
        "refuse: Sidecar crawlers/default: ours would take crawlers from it, and no key of the "
        "stack makes its listeners; set crawlers.sidecarResource: none",
    ),
    "the mesh's default Sidecar": (
        {"crawlers": CREATE},
        [sidecar(namespace="istio-system", **egress("./*", "istio-system/*"))],
        "warn: Sidecar istio-system/default: is the mesh's default, and ours would take crawlers "
        'from it; set crawlers.egressHosts: ["queues/*", "istio-system/*"]',
    ),
    "theirs closes": (
        {},
        [sidecar(**egress("./*"), outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})],
        "warn: Sidecar crawlers/default: outboundTrafficPolicy is REGISTRY_ONLY",
    ),
    "theirs takes a port": (
        {},
        [sidecar(**egress("./*", port={"number": 3128, "protocol": "HTTP"}))],
        "warn: Sidecar crawlers/default: its egress listener takes port 3128 of vendors",
    ),
    "theirs hides names": (
        {},
        [sidecar(**egress("shops/*"))],
        "refuse: Sidecar crawlers/default: leaves out gw.vendor-b.example, a name of the stack, "
        "which then counts as outside; add ./* to its egress hosts",
    ),
    "a Service of the namespace": (
        {"crawlers": CREATE},
        [service("proxy", "crawlers", {"name": "http"})],
        "warn: Service crawlers/proxy: takes port 3128 of vendors from the attribution; move it",
    ),
    "a Service of any namespace": (
        {},
        [service("proxy", "shops", {"appProtocol": "kubernetes.io/h2c"})],
        "warn: Service shops/proxy: takes port 3128 of vendors from the attribution; keep it from "
        "crawlers by a Sidecar's egress, or set crawlers.sidecarResource: create",
    ),
    "a listed Service": (
        {"crawlers": {**CREATE, "egressHosts": ["shops/*"]}},
        [service("proxy", "shops", {"name": "http-web"})],
        "warn: Service shops/proxy: takes port 3128 of vendors from the attribution; take its host "
        "out of crawlers.egressHosts",
    ),
    "a ServiceEntry": (
        {},
        [one("ServiceEntry", "shop", "shops", spec=ENTRY)],
        "warn: ServiceEntry shops/shop: takes port 3128",
    ),
    "a vendor's name": (
        {},
        [one("ServiceEntry", "b", "shops", spec={"hosts": ["*.vendor-b.example"]})],
        "warn: ServiceEntry shops/b: has gw.vendor-b.example, a name of the stack",
    ),
    "STRICT": (
        {"crawlers": CREATE},
        [strict("istio-system")],
        "warn: PeerAuthentication: STRICT in namespaces shops, and crawlers' connections to "
        "Services there would have no mTLS and be refused; write those that crawlers call into "
        'crawlers.egressHosts, as "shops/*"',
    ),
    "a patch": (
        {},
        [one("EnvoyFilter", "rate", "istio-system", spec={"configPatches": [PATCH]})],
        "warn: EnvoyFilter istio-system/rate: patches NETWORK_FILTER of the crawlers' outbound",
    ),
    "a ProxyConfig": (
        {},
        [proxy_config(concurrency=2)],
        "refuse: ProxyConfig crawlers/theirs: is for crawlers as ours is, and istiod takes the "
        "older alone; give it a selector",
    ),
    "hostNetwork": (
        {},
        [pod(hostNetwork=True)],
        "warn: workload crawlers/crawler: gets no sidecar, as it has hostNetwork (pod crawler-1)",
    ),
    "a label that no pod has": (
        {"crawlers": {"createNamespaces": False, "selector": {"attributed": "true"}}},
        [INJECTED],
        "warn: crawlers.selector: attributed=true selects no running pod in crawlers; ",
    ),
    "no injection": (
        {},
        [pod(annotations={"sidecar.istio.io/inject": "false"})],
        'warn: workload crawlers/crawler: gets no sidecar, as sidecar.istio.io/inject is "false"',
    ),
    "past the sidecar": (
        {},
        [pod(annotations={"traffic.sidecar.istio.io/excludeOutboundPorts": "3128"})],
        "warn: workload crawlers/crawler: sends port 3128 of a vendor past the sidecar (pod",
    ),
    "its own statistics": (
        {},
        [pod(annotations={"sidecar.istio.io/statsInclusionRegexps": "http.*"})],
        "warn: workload crawlers/crawler: exports other statistics than the stack's (pod "
        "crawler-1); remove its annotation sidecar.istio.io/statsInclusionRegexps",
    ),
    "Pod Security": (
        {},
        [
            NO_CNI,
            one("Namespace", "crawlers", labels={"pod-security.kubernetes.io/enforce": "baseline"}),
        ],
        "refuse: Namespace crawlers: its level pod-security.kubernetes.io/enforce=baseline refuses "
        "istio-init",
    ),
    "no room": (
        {},
        [quota(cpu="1"), config_map("istio-sidecar-injector", "values", ISTIO_RESOURCES)],
        "refuse: ResourceQuota crawlers/all: cpu 1, of which 900m is used, has no room for "
        "sidecars of 1 pods (200m each)",
    ),
    "too small a limit": (
        {"istio": {"rootNamespace": "mesh"}},
        [
            istiod("pilot:1.31.4", namespace="mesh"),
            one("Namespace", "mesh", labels=PART_OF),
            one("Namespace", "istio-system", labels=PART_OF),
            one(
                "LimitRange",
                "small",
                "crawlers",
                spec={"limits": [{"type": "Container", "max": {"memory": "256Mi"}}]},
            ),
        ],
        "refuse: LimitRange crawlers/small: allows a container memory 256Mi, and a sidecar is "
        "limited to 512M, so no pod with one starts",
    ),
    "too small a limit for another team's sidecars": (
        {"istio": {"install": False}},
        [
            config_map(
                "istio-sidecar-injector",
                "values",
                '{"global": {"proxy": {"resources": {"limits": {"memory": "1Gi"}}}}}',
            ),
            one(
                "LimitRange",
                "small",
                "crawlers",
                spec={"limits": [{"type": "Container", "max": {"memory": "256Mi"}}]},
            ),
        ],
        "refuse: LimitRange crawlers/small: allows a container memory 256Mi, and a sidecar is "
        "limited to 1Gi, so no pod with one starts; change it, or annotate the pods with "
        "sidecar.istio.io/proxyCPU, proxyMemory, proxyCPULimit and proxyMemoryLimit",
    ),
    "more sidecars than the crawlers'": (
        {"crawlers": {"createNamespaces": False, "selector": {"observed": "yes"}}},
        [pod(labels={"observed": "yes"}), pod("queue-1"), pod("cache-1", labels=OPTED_OUT)],
        "warn: Namespace crawlers: gets the label istio-injection=enabled, so pods that "
        "crawlers.selector does not name have a sidecar, too, once they restart (pod queue-1); "
        'label their templates sidecar.istio.io/inject: "false", or let them have one',
    ),
    "names that lead others' pods to virtual addresses": (
        {"crawlers": {"createNamespaces": False, "selector": {"observed": "yes"}}},
        [
            INJECTED,
            pod(labels={"observed": "yes"}),
            pod("queue-1", containers=[{"name": "istio-proxy"}]),
            config_map(
                "istio",
                "mesh",
                'defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}}',
            ),
        ],
        "warn: MeshConfig in istio-system: ISTIO_META_DNS_CAPTURE is true for every pod, so "
        "those that crawlers.selector does not name (pod queue-1) reach the names in hosts on "
        "listed ports alone; list every port in use",
    ),
    "closed to Prometheus": (
        {},
        [policy("Ingress", {"from": [{"podSelector": {}}]})],
        "warn: NetworkPolicy crawlers/closed: no policy of the namespace admits namespace "
        "monitoring to port 15090",
    ),
    "closed to istiod": (
        {},
        [policy("Egress", {"ports": [{"port": 53}, {"port": 80, "endPort": 443}]})],
        "refuse: NetworkPolicy crawlers/closed: no policy of the namespace lets crawlers connect "
        "to port 15012 of namespace istio-system",
    ),
    "no default class": (
        {},
        [one("StorageClass", "standard")],
        "refuse: scheduling.storageClass: is not set, and the cluster has no default StorageClass; "
        "name one of standard there",
    ),
    "no such class": (
        {"scheduling": {"storageClass": "fast"}},
        [],
        "refuse: scheduling.storageClass: StorageClass fast does not exist",
    ),
    "no such priority": (
        {"scheduling": {"priorityClass": "high"}},
        [one("PriorityClass", "low")],
        "refuse: scheduling.priorityClass: high does not exist, so no pod would start; create it, "
        "or name one of low",
    ),
    "no class of snapshots": (
        {"prometheus": {"createNamespace": False, "backup": {}}},
        [one("VolumeSnapshotClass", "csi")],
        "refuse: prometheus.backup.volumeSnapshotClass: is not set, and the cluster has no default",
    ),
}
