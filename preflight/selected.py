"""Which Prometheus of the operator reads the stack's objects? Pure.

The operator selects by an object's labels and by its namespace's (prometheus-operator,
pkg/prometheus/resource_selector.go and pkg/prometheus/server/rules.go): an empty selector selects
all. One that is not set selects no object, and of namespaces the Prometheus' own alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from components.labels import PROJECT, labels
from components.prometheus.operator import APP
from preflight.objects import Json, Objects
from preflight.selectors import labels_of, matches
from preflight.stack import Stack
from settings.namespaces import MONITORING_NAMESPACE
from settings.prometheus import OperatorPrometheusSettings

FIELDS = {"PodMonitor": "podMonitor", "ServiceMonitor": "serviceMonitor", "PrometheusRule": "rule"}
"""How the fields of a kind's two selectors begin."""
MONITORS = ("podMonitor", "serviceMonitor", "probe", "scrapeConfig")
"""Without a selector of any of them the operator leaves a Prometheus' configuration alone, and with
one it would overwrite it (pkg/prometheus/server/operator.go, unmanagedPrometheusConfiguration)."""
READS = {
    "Prometheus": (*FIELDS,),
    "PrometheusAgent": ("PodMonitor", "ServiceMonitor"),
    "ThanosRuler": ("PrometheusRule",),
}
"""What each server of the operator takes of the three."""
OWN_LABELS = "app.kubernetes.io/"
OURS = {"matchLabels": {"app.kubernetes.io/part-of": PROJECT}}
"""What to have an owner set: `{}` would take every other team's objects, too."""
NAMESPACE_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a stack gives the operator.

    Attributes:
        kinds: of its objects, which all have the same labels.
        own: labels that the program writes on every object.
        chosen: `prometheus.operatorLabels`.
        of_namespace: labels of the namespace of the objects.
    """

    kinds: tuple[str, ...]
    own: Mapping[str, str]
    chosen: Mapping[str, str]
    of_namespace: Mapping[str, str]


def given(stack: Stack, settings: OperatorPrometheusSettings, found: Objects) -> Given:
    plans = (one for one in stack.plan.namespaces if one.name == MONITORING_NAMESPACE)
    added = [one.labels for one in plans if one.action != "use"]
    there = found.namespace(MONITORING_NAMESPACE)
    of_namespace = {NAMESPACE_NAME: MONITORING_NAMESPACE, **(labels_of(there) if there else {})}
    for each in added:
        of_namespace |= each
    return Given(
        kinds=tuple(dict.fromkeys(one.kind for one in stack.plan.operator_objects)),
        own=labels(APP),
        chosen=settings.operator_labels,
        of_namespace=of_namespace,
    )


def misses(server: Json, objects: Given) -> Iterator[str]:
    """Yield why a server of the operator leaves out some kinds of ours: "reason; fix"."""
    spec = server.get("spec") or {}
    without = all(spec.get(f"{each}Selector") is None for each in MONITORS)
    if without and server["kind"] == "Prometheus":
        yield (
            "has no selector of monitors, so its owner writes its configuration by hand; name "
            "another, or give its owner our files (docs/own-prometheus.md)"
        )
        return
    kinds = [kind for kind in objects.kinds if kind in READS[server["kind"]]]
    chosen_by = {kind: spec.get(f"{FIELDS[kind]}Selector") for kind in kinds}
    if unset := [kind for kind in kinds if chosen_by[kind] is None]:
        yield (
            f"selects no {_plural(unset)}; have its owner set {_fields(unset, 'Selector')} to "
            f"{json.dumps(OURS)}"
        )
    labelled = {**objects.own, **objects.chosen}
    others = [
        kind for kind in kinds if kind not in unset and not matches(chosen_by[kind], labelled)
    ]
    if others:
        of_all = [chosen_by[kind] for kind in kinds if kind not in unset]
        yield f"selects {_plural(others)} by other labels; {_by_labels(of_all, objects)}"
    yield from _of_namespaces(server, objects, kinds)


def _of_namespaces(server: Json, objects: Given, kinds: Sequence[str]) -> Iterator[str]:
    spec, own = server.get("spec") or {}, server["metadata"]["namespace"]
    chosen_by = {kind: spec.get(f"{FIELDS[kind]}NamespaceSelector") for kind in kinds}
    unset = [kind for kind in kinds if chosen_by[kind] is None]
    if unset and own != MONITORING_NAMESPACE:
        yield (
            f"looks for {_plural(unset)} in its own namespace {own} alone; have its owner let "
            f"{_fields(unset, 'NamespaceSelector')} select {own} and {MONITORING_NAMESPACE}"
        )
    set_kinds = [kind for kind in kinds if kind not in unset]
    if others := [kind for kind in set_kinds if not matches(chosen_by[kind], objects.of_namespace)]:
        of_all = [chosen_by[kind] for kind in set_kinds]
        wanted = labels_for(of_all, {}, objects.of_namespace)
        pairs = " ".join(f"{key}={value}" for key, value in (wanted or {}).items())
        label = f"run kubectl label namespace {MONITORING_NAMESPACE} {pairs}, or " if pairs else ""
        yield (
            f"looks for {_plural(others)} in namespaces without {MONITORING_NAMESPACE}; {label}"
            f"have its owner let {_fields(others, 'NamespaceSelector')} select it"
        )


def labels_for(
    selectors: Sequence[Json | None], chosen: Mapping[str, str], fixed: Mapping[str, str]
) -> dict[str, str] | None:
    """Return labels that all these selectors select; None if a user cannot write any.

    Args:
        chosen: what the user writes now, and may change.
        fixed: labels that are there besides.
    """
    needs = defaultdict(list)
    for selector in selectors:
        for key, value in ((selector or {}).get("matchLabels") or {}).items():
            needs[key].append({"key": key, "operator": "In", "values": [value]})
        for one in (selector or {}).get("matchExpressions") or ():
            needs[one["key"]].append(one)
    wanted: dict[str, str | None] = {**chosen}
    for key, expressions in needs.items():
        named = [value for one in expressions for value in one.get("values") or ("true",)]
        offered = [fixed[key]] if key in fixed else [wanted.get(key), *named, None]
        fit = [value for value in offered if _meets(expressions, key, value)]
        if not fit:
            return None
        if key not in fixed:
            wanted[key] = fit[0]
    return {key: value for key, value in wanted.items() if value is not None}


def _meets(expressions: Sequence[Json], key: str, value: str | None) -> bool:
    return matches({"matchExpressions": expressions}, {} if value is None else {key: value})


def _by_labels(selectors: Sequence[Json | None], objects: Given) -> str:
    wanted = labels_for(selectors, objects.chosen, objects.own)
    if wanted is None or any(key.startswith(OWN_LABELS) for key in wanted):
        return "no prometheus.operatorLabels meet them all; have its owner change its selectors"
    return f"set prometheus.operatorLabels: {json.dumps(wanted)}"


def _plural(kinds: Sequence[str]) -> str:
    *first, last = (f"{kind}s" for kind in kinds)
    return f"{', '.join(first)} and {last}" if first else last


def _fields(kinds: Sequence[str], end: str) -> str:
    *first, last = (f"{FIELDS[kind]}{end}" for kind in kinds)
    return f"{', '.join(first)} and {last}" if first else last
