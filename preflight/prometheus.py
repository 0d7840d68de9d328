"""The Prometheus of another team: does it read the stack's objects, and does `url` lead there?

Pure. The operator says nothing of an object that no Prometheus selects: it stays in the cluster,
nothing is scraped and no alert fires.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from components.prometheus.estimate import estimate
from components.prometheus.operator_objects import OperatorObject
from preflight.finding import MOST_NAMED, Finding, listed, refuse, warn
from preflight.objects import Json, Objects
from preflight.selected import Given, given, misses
from preflight.selectors import title
from preflight.stack import Stack
from settings.namespaces import MONITORING_NAMESPACE
from settings.prometheus import OperatorPrometheusSettings
from settings.stack import StackSettings
from verify.reach import IN_CLUSTER

SERVERS = ("Prometheus", "PrometheusAgent")


def prometheus_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield what keeps the stack's monitors and rules from the Prometheus at `prometheus.url`."""
    settings = stack.settings.prometheus
    assert isinstance(settings, OperatorPrometheusSettings)
    if not {*SERVERS} - found.absent or "Prometheus" in found.denied:
        return  # Another program may read the monitors, and part of a list says nothing.
    servers = [one for kind in SERVERS for one in found.of(kind)]
    if not servers and "PrometheusAgent" not in found.denied:
        yield warn(
            "prometheus.mode: operator, and the cluster has no Prometheus, so nothing reads the "
            "stack's PodMonitors; create one, or take prometheus.mode out"
        )
        return
    objects = given(stack, settings, found)
    # Where one evaluates the rules, Prometheus need not select them.
    if rulers := [one for one in found.of("ThanosRuler") if not [*misses(one, objects)]]:
        yield warn(
            f"{listed(map(title, rulers))}: evaluates the stack's rules; see that prometheus.url "
            "answers with what it records, and that no Prometheus evaluates them, too"
        )
        monitors = tuple(kind for kind in objects.kinds if kind != "PrometheusRule")
        objects = replace(objects, kinds=monitors)
    service = _service(settings, found)
    behind = [one for one in servers if service and _leads_to(service, one)]
    yield from _service_findings(settings, servers, found, service, behind)
    asked = _asked(settings, servers, behind)
    readers = [one for one in servers if not [*_left_out(one, objects)]]
    good = [one for one in asked if one in readers]
    if not good:
        for one in asked[:MOST_NAMED]:
            yield from _left_out(one, objects)
        for one in readers:
            yield warn(
                f"{title(one)}: reads the stack's objects, and is not the one that the stack "
                "names; if it is meant, write its prometheus.url and prometheus.namespace"
            )
        return
    if len(readers) > 1:
        yield warn(
            f"{listed(map(title, readers))}: each scrapes all crawlers and sends every alert; "
            "set prometheus.operatorLabels that one alone selects"
        )
    for one in good:
        yield from _spec_findings(stack, objects, one)


def _left_out(server: Json, objects: Given) -> Iterator[Finding]:
    for reason in misses(server, objects):
        yield refuse(f"{title(server)}: {reason}")
    if server["kind"] == "PrometheusAgent" and "PrometheusRule" in objects.kinds:
        yield warn(
            f"{title(server)}: evaluates no rules, so nothing alerts and boards stay empty; name a "
            "Prometheus"
        )


def _asked(
    settings: OperatorPrometheusSettings, servers: list[Json], behind: list[Json]
) -> list[Json]:
    """Return the one behind `url`; else those of its namespace, else all."""
    if len(behind) == 1:
        return behind
    # An agent evaluates no rules; its line is of use where there is nothing else.
    able = [one for one in servers if one["kind"] == "Prometheus"] or servers
    there = [one for one in able if one["metadata"]["namespace"] == settings.namespace]
    return there or able


def _place(settings: OperatorPrometheusSettings) -> tuple[str, str] | None:
    """Return name and namespace of the Service that `url` names; None outside the cluster."""
    inside = IN_CLUSTER.fullmatch(urlsplit(settings.url).hostname or "")
    return (inside[1], inside[2]) if inside else None


def _service(settings: OperatorPrometheusSettings, found: Objects) -> Json | None:
    place = _place(settings)
    if place is None:
        return None
    of_namespace = found.of("Service", place[1])
    return next((one for one in of_namespace if one["metadata"]["name"] == place[0]), None)


def _leads_to(service: Json, server: Json) -> bool:
    """Whether a Service selects the pods of a Prometheus, by the labels that the operator gives."""
    metadata, spec = server["metadata"], server.get("spec") or {}
    labels = {
        **((spec.get("podMetadata") or {}).get("labels") or {}),
        # Its pkg/prometheus/server/operator.go, makeSelectorLabels.
        "app.kubernetes.io/managed-by": "prometheus-operator",
        "app.kubernetes.io/name": "prometheus",
        "app.kubernetes.io/instance": metadata["name"],
        "operator.prometheus.io/name": metadata["name"],
        "prometheus": metadata["name"],
    }
    selector = (service.get("spec") or {}).get("selector") or {}
    same = service["metadata"]["namespace"] == metadata["namespace"]
    # An agent answers no query.
    return bool(same and selector and selector.items() <= labels.items()) and (
        server["kind"] == "Prometheus"
    )


def _service_findings(
    settings: OperatorPrometheusSettings,
    servers: list[Json],
    found: Objects,
    service: Json | None,
    behind: list[Json],
) -> Iterator[Finding]:
    """Yield what is wrong with the Service that `url` names, and with what is behind it."""
    place = _place(settings)
    if place is None or "Service" in found.denied:
        return
    what = f"prometheus.url: Service {place[1]}/{place[0]}"
    if service is None:
        good = [one for one in found.of("Service") if any(_leads_to(one, s) for s in servers)]
        names = listed(f"{one['metadata']['name']}.{one['metadata']['namespace']}" for one in good)
        yield refuse(f"{what} does not exist; {f'name one of {names}' if good else 'correct it'}")
        return
    spec, url = service.get("spec") or {}, urlsplit(settings.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    ports = [one.get("port") for one in spec.get("ports") or ()]
    # A headless one has no ports of its own: DNS names the pods.
    if ports and port not in ports and spec.get("clusterIP") != "None":
        yield refuse(f"{what} has no port {port}; name one of {listed(map(str, ports))}")
    ready = [(one.get("status") or {}).get("availableReplicas") for one in behind]
    if behind and not any(number is None or number > 0 for number in ready):
        yield warn(f"{title(behind[0])}: has no pod that is ready; see why before `up`")


def _spec_findings(stack: Stack, objects: Given, server: Json) -> Iterator[Finding]:
    """Yield the fields that change what it scrapes or evaluates of the stack."""
    settings = stack.settings
    assert isinstance(settings.prometheus, OperatorPrometheusSettings)
    what, spec = title(server), server.get("spec") or {}
    namespace = server["metadata"]["namespace"]
    if namespace != settings.prometheus.namespace:
        yield warn(
            f"{what}: is not in prometheus.namespace {settings.prometheus.namespace}; set "
            f"prometheus.namespace: {namespace}"
        )
    if spec.get("paused"):
        yield warn(f"{what}: is paused and takes nothing new; have its owner remove `paused`")
    if (spec.get("shards") or 1) > 1:
        yield refuse(
            f"{what}: has {spec['shards']} shards, each of which takes its part of the crawlers "
            "for the whole; name one without shards"
        )
    if spec.get("ignoreNamespaceSelectors"):
        yield refuse(
            f"{what}: has ignoreNamespaceSelectors, so it looks for crawlers in "
            f"{MONITORING_NAMESPACE} alone; have its owner remove that"
        )
    files = spec.get("arbitraryFSAccessThroughSMs") or {}
    if files.get("deny") and "ServiceMonitor" in objects.kinds:
        yield refuse(
            f"{what}: refuses the kubelets' ServiceMonitor, as arbitraryFSAccessThroughSMs.deny is "
            "true; set prometheus.nodeMetrics: false"
        )
    yield from _label_findings(stack, what, spec)
    yield from _limit_findings(settings, what, spec)
    cluster = (spec.get("externalLabels") or {}).get("cluster", settings.cluster)
    if cluster != settings.cluster:
        yield warn(
            f"{what}: has the external label cluster={cluster}, and the stack says "
            f"{settings.cluster}; set cluster: {cluster}"
        )


def _label_findings(stack: Stack, what: str, spec: Json) -> Iterator[Finding]:
    """Yield what the operator writes into the stack's series and rules."""
    label = spec.get("enforcedNamespaceLabel")
    if label and not all(_is_excluded(one, spec) for one in stack.plan.operator_objects):
        fix = "have its owner name all our objects in excludedFromEnforcement"
        if label == "namespace":
            yield refuse(
                f"{what}: writes {MONITORING_NAMESPACE} over every crawler's namespace, as it has "
                f"enforcedNamespaceLabel; {fix}"
            )
        else:
            yield warn(
                f"{what}: gives our series and rules the label {label}={MONITORING_NAMESPACE}, as "
                f"it has enforcedNamespaceLabel; {fix}, or none of them"
            )


def _limit_findings(settings: StackSettings, what: str, spec: Json) -> Iterator[Finding]:
    """Yield the limits that fail scrapes; the stack's monitors set none of their own."""
    samples, targets = estimate(settings).sidecar.total, settings.crawlers.expected_pods
    for field, needed in (
        ("sampleLimit", samples),
        ("enforcedSampleLimit", samples),
        ("targetLimit", targets),
        ("enforcedTargetLimit", targets),
    ):
        if 0 < (spec.get(field) or 0) < needed:
            yield warn(
                f"{what}: fails scrapes above its {field} {spec[field]}, and the stack expects "
                f"{needed}; have its owner raise that"
            )


def _is_excluded(one: OperatorObject, spec: Json) -> bool:
    """Whether `excludedFromEnforcement` names an object, or all of its kind and namespace."""
    return any(
        entry.get("namespace") == MONITORING_NAMESPACE
        and entry.get("resource") == f"{one.kind.lower()}s"
        and entry.get("name") in (None, "", one.name)
        for entry in spec.get("excludedFromEnforcement") or ()
    )
