"""Objects as kubectl lists them: a cluster of other teams in which all is well, and edits of it."""

from __future__ import annotations

from typing import Any

from deployment import stack_plan
from preflight.checks import results
from preflight.objects import Objects
from preflight.stack import Made, Stack
from settings.loading import parse_settings

Json = dict[str, Any]

VENDORS = [
    {"name": "vendor-a", "cidrs": ["203.0.113.0/24"], "httpPorts": [3128]},
    {"name": "vendor-b", "hosts": [{"name": "gw.vendor-b.example", "ports": [7777]}]},
]
ADOPTED = {
    "crawlers": {"createNamespaces": False},
    "istio": {"install": False},
    "prometheus": {"createNamespace": False},
}
"""A stack of a team whose namespaces and Istio are there."""


def stack(**sections: Any) -> Stack:
    """Return the adopting team's stack; None takes a section back."""
    merged = {"cluster": "x", "vendors": VENDORS, **ADOPTED, **sections}
    settings = parse_settings({key: value for key, value in merged.items() if value is not None})
    return Stack(settings=settings, plan=stack_plan(settings), made=frozenset())


def one(kind: str, name: str, namespace: str = "", labels: Json | None = None, **more: Any) -> Json:
    where = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, **where, "labels": labels or {}}
    metadata["annotations"] = more.pop("annotations", {})
    return {"kind": kind, "metadata": metadata, **more}


def injector(name: str, labels: Json, key: str, value: str) -> Json:
    """Return istiod's webhooks for namespaces with a label, without those for pods' labels."""
    wanted = [{"key": key, "operator": "In", "values": [value]}]
    if key == "istio.io/rev":
        wanted.append({"key": "istio-injection", "operator": "DoesNotExist"})
    unwanted = {"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}
    webhook = {
        "name": "namespace.sidecar-injector.istio.io",
        "namespaceSelector": {"matchExpressions": wanted},
        "objectSelector": {"matchExpressions": [unwanted]},
    }
    return one("MutatingWebhookConfiguration", name, labels=labels, webhooks=[webhook])


def istiod(image: str, revision: str = "default", namespace: str = "istio-system") -> Json:
    containers = [{"name": "discovery", "image": image}]
    spec = {"template": {"spec": {"containers": containers}}}
    return one("Deployment", "istiod", namespace, {"istio.io/rev": revision}, spec=spec)


def pod(name: str = "crawler-1", labels: Json | None = None, **more: Any) -> Json:
    annotations = more.pop("annotations", {})
    spec = {"containers": [{"name": "crawler"}], **more}
    found = one("Pod", name, "crawlers", labels, annotations=annotations, spec=spec)
    owner = {"kind": "ReplicaSet", "name": "crawler-5d4f8", "controller": True}
    found["metadata"]["ownerReferences"] = [owner]
    return found


def service(name: str, namespace: str, port: Json, **more: Any) -> Json:
    annotations = more.pop("annotations", {})
    spec = {"ports": [{"port": 3128, **port}], **more}
    return one("Service", name, namespace, annotations=annotations, spec=spec)


def good() -> list[Json]:
    """Return a cluster into which the stack may be let."""
    return [
        one("Namespace", "crawlers"),
        one("Namespace", "monitoring"),
        one("Namespace", "istio-system"),
        one("Namespace", "shops", labels={"istio-injection": "enabled"}),
        one(
            "StorageClass",
            "standard",
            annotations={"storageclass.kubernetes.io/is-default-class": "true"},
        ),
        injector(
            "istio-sidecar-injector", {"istio.io/rev": "default"}, "istio-injection", "enabled"
        ),
        istiod("docker.io/istio/pilot:1.31.4-distroless"),
        pod(),
        service("shop", "shops", {"name": "tcp-shop"}),
    ]


KINDS = (
    *("Namespace", "StorageClass", "PriorityClass", "MutatingWebhookConfiguration"),
    *("CustomResourceDefinition", "VolumeSnapshotClass", "Deployment", "Service", "Sidecar"),
    *("ServiceEntry", "PeerAuthentication", "EnvoyFilter", "ProxyConfig", "ResourceQuota"),
    *("LimitRange", "NetworkPolicy", "Pod", "ConfigMap", "ServiceMonitor", "PodMonitor"),
    *("PrometheusRule", "Certificate", "Prometheus", "PrometheusAgent", "ThanosRuler"),
)


def objects(*more: Json, without: str = "", absent: tuple[str, ...] = ()) -> Objects:
    """Return the good cluster with more objects; one of the same kind and place is replaced."""

    def place(each: Json) -> tuple[str, str | None, str]:
        metadata = each["metadata"]
        return each["kind"], metadata.get("namespace"), metadata["name"]

    by_place = {place(each): each for each in (*good(), *more) if each["kind"] != without}
    items = {
        kind: [each for each in by_place.values() if each["kind"] == kind]
        for kind in KINDS
        if kind not in absent
    }
    return Objects(items=items, absent=frozenset(absent), version="v1.34.1")


def said(stack: Stack, found: Objects, missing: tuple[Made, ...] = ()) -> list[str]:
    return [each.line() for result in results(stack, found, missing) for each in result.findings]
