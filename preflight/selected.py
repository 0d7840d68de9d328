"""Which Prometheus of the operator reads the stack's objects? Pure.

The operator selects by an object's labels and by its namespace's (prometheus-operator,
pkg/prometheus/resource_selector.go and pkg/prometheus/server/rules.go): an empty selector selects
all. One that is not set selects no object, and of namespaces the Prometheus' own alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from components.labels import labels
from components.prometheus.operator import APP
from preflight.objects import Json, Objects
from preflight.selectors import labels_of, matches
from preflight.stack import Stack
from settings.namespaces import MONITORING_NAMESPACE
from settings.prometheus import OperatorPrometheusSettings

FIELDS = {"PodMonitor": "podMonitor", "ServiceMonitor": "serviceMonitor", "PrometheusRule": "rule"}
"""How the fields of a kind's two selectors begin."""
OWN_LABELS = "app.kubernetes.io/"
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
    """Yield why a Prometheus or a PrometheusAgent leaves out some kinds: "reason; fix"."""
    spec = server.get("spec") or {}
    is_agent = server["kind"] == "PrometheusAgent"
    kinds = [kind for kind in objects.kinds if not (is_agent and kind == "PrometheusRule")]
    chosen_by = {kind: spec.get(f"{FIELDS[kind]}Selector") for kind in kinds}
    if unset := [kind for kind in kinds if chosen_by[kind] is None]:
        yield (
            f"selects no {_plural(unset)}; have its owner set {_fields(unset, 'Selector')} to {{}}"
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
            f"looks for {_plural(unset)} in its own namespace {own} alone; have its owner set "
            f"{_fields(unset, 'NamespaceSelector')} to {{}}"
        )
    set_kinds = [kind for kind in kinds if kind not in unset]
    if others := [kind for kind in set_kinds if not matches(chosen_by[kind], objects.of_namespace)]:
        of_all = [chosen_by[kind] for kind in set_kinds]
        wanted = labels_for(of_all, {}, objects.of_namespace)
        pairs = " ".join(f"{key}={value}" for key, value in (wanted or {}).items())
        label = f"run kubectl label namespace {MONITORING_NAMESPACE} {pairs}, or " if pairs else ""
        yield (
            f"looks for {_plural(others)} in namespaces without {MONITORING_NAMESPACE}; {label}"
            f"have its owner set {_fields(others, 'NamespaceSelector')} to {{}}"
        )


def labels_for(
    selectors: Sequence[Json | None], chosen: Mapping[str, str], fixed: Mapping[str, str]
) -> dict[str, str] | None:
    """Return labels that all these selectors select; None if a user cannot write any.

    Args:
        chosen: what the user writes now, and may change.
        fixed: labels that are there besides.
    """
    wanted = dict(chosen)
    for selector in selectors:
        wanted |= (selector or {}).get("matchLabels") or {}
        for one in (selector or {}).get("matchExpressions") or ():
            key, values = one["key"], one.get("values") or ["true"]
            if one["operator"] in ("NotIn", "DoesNotExist"):
                wanted.pop(key, None)
            elif not matches({"matchExpressions": [one]}, {**fixed, **wanted}):
                wanted[key] = values[0]
    wanted = {key: value for key, value in wanted.items() if fixed.get(key) != value}
    written = all(matches(one, {**fixed, **wanted}) for one in selectors)
    return wanted if written and not any(key in fixed for key in wanted) else None


def _by_labels(selectors: Sequence[Json | None], objects: Given) -> str:
    wanted = labels_for(selectors, objects.chosen, objects.own)
    if wanted is None or any(key.startswith(OWN_LABELS) for key in wanted):
        return "no prometheus.operatorLabels meet them all; have its owner set them to {}"
    return f"set prometheus.operatorLabels: {json.dumps(wanted)}"


def _plural(kinds: Sequence[str]) -> str:
    *first, last = (f"{kind}s" for kind in kinds)
    return f"{', '.join(first)} and {last}" if first else last


def _fields(kinds: Sequence[str], end: str) -> str:
    *first, last = (f"{FIELDS[kind]}{end}" for kind in kinds)
    return f"{', '.join(first)} and {last}" if first else last
