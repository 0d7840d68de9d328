"""Which Prometheus of another team reads the stack's objects, and what must be written for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from preflight.checks import results
from preflight.stack import Stack
from settings.prometheus import OperatorPrometheusSettings
from tests.preflight.clusters import Json, objects, one, said, stack

RELEASE = {"matchLabels": {"release": "kps"}}
KEYS = {
    "mode": "operator",
    "url": "http://kps-prometheus.monitoring.svc:9090",
    "operatorLabels": {"release": "kps"},
    "createNamespace": False,
}
SELECTORS = ("podMonitor", "serviceMonitor", "rule")


def asked(**more: Any) -> Stack:
    return stack(prometheus={**KEYS, **more})


def prometheus(
    name: str = "kps",
    namespace: str = "monitoring",
    kind: str = "Prometheus",
    selector: Json | None = RELEASE,
    namespaces: Json | None = None,
    **more: Any,
) -> Json:
    """Return a Prometheus as kube-prometheus-stack makes it, whose namespace selectors are {}."""
    spec: Json = {f"{one}Selector": selector for one in SELECTORS}
    spec |= {f"{one}NamespaceSelector": namespaces for one in SELECTORS}
    return one(kind, name, namespace, spec={**spec, **more}, status={"availableReplicas": 1})


def ruler(selector: Json | None = RELEASE) -> Json:
    return one("ThanosRuler", "thanos", "monitoring", spec={"ruleSelector": selector})


def service(name: str = "kps-prometheus", namespace: str = "monitoring", of: str = "kps") -> Json:
    selector = {"app.kubernetes.io/name": "prometheus", "operator.prometheus.io/name": of}
    spec = {"selector": selector, "ports": [{"port": 9090}, {"port": 8080}]}
    return one("Service", name, namespace, spec=spec)


def expressions(**wanted: tuple[str, ...]) -> Json:
    """Return a selector of one expression a key: `team=("In", "a", "b")`."""
    return {
        "matchExpressions": [
            {"key": key, "operator": operator, "values": values}
            for key, (operator, *values) in wanted.items()
        ]
    }


EXCLUDED = [
    {"resource": each, "namespace": "monitoring"}
    for each in ("podmonitors", "servicemonitors", "prometheusrules")
]
ALL = "PodMonitors, ServiceMonitors and PrometheusRules"
CASES = {
    "another release": (
        {"operatorLabels": {"release": "prometheus"}},
        [prometheus(), service()],
        f"refuse: Prometheus monitoring/kps: selects {ALL} by other labels; "
        'set prometheus.operatorLabels: {"release": "kps"}',
    ),
    "a label for rules alone": (
        {},
        [prometheus(ruleSelector={"matchLabels": {"role": "alerts"}}), service()],
        "refuse: Prometheus monitoring/kps: selects PrometheusRules by other labels; "
        'set prometheus.operatorLabels: {"release": "kps", "role": "alerts"}',
    ),
    "expressions": (
        {"operatorLabels": {"team": "crawl", "private": "x"}},
        [
            prometheus(
                selector={
                    "matchExpressions": [
                        {"key": "team", "operator": "In", "values": ["sre", "data"]},
                        {"key": "scraped", "operator": "Exists"},
                        {"key": "private", "operator": "DoesNotExist"},
                    ]
                }
            ),
            service(),
        ],
        f"refuse: Prometheus monitoring/kps: selects {ALL} by other labels; "
        'set prometheus.operatorLabels: {"team": "sre", "scraped": "true"}',
    ),
    "labels that exclude each other": (
        {},
        [prometheus(ruleSelector={"matchLabels": {"release": "rules"}}), service()],
        "refuse: Prometheus monitoring/kps: selects PrometheusRules by other labels; no "
        "prometheus.operatorLabels meet them all; have its owner change its selectors",
    ),
    "a label of ours": (
        {},
        [
            prometheus(selector={"matchLabels": {"app.kubernetes.io/part-of": "kube-prometheus"}}),
            service(),
        ],
        f"refuse: Prometheus monitoring/kps: selects {ALL} by other labels; no "
        "prometheus.operatorLabels meet them all",
    ),
    "a selector that is not set": (
        {},
        [prometheus(ruleSelector=None), service()],
        "refuse: Prometheus monitoring/kps: selects no PrometheusRules; have its owner set "
        'ruleSelector to {"matchLabels": {"app.kubernetes.io/part-of": "proxy-observability"}}',
    ),
    "a configuration by hand": (
        {},
        [prometheus(selector=None, ruleSelector={}), service()],
        "refuse: Prometheus monitoring/kps: has no selector of monitors, so its owner writes its "
        "configuration by hand; name another, or give its owner our files",
    ),
    "probes alone": (
        {},
        [prometheus(selector=None, ruleSelector={}, probeSelector={}), service()],
        "refuse: Prometheus monitoring/kps: selects no PodMonitors and ServiceMonitors; have its "
        "owner set podMonitorSelector and serviceMonitorSelector to",
    ),
    "rules that may not have some value": (
        {"operatorLabels": {}},
        [prometheus(ruleSelector=expressions(release=("NotIn", "ignore"))), service()],
        "refuse: Prometheus monitoring/kps: selects PodMonitors and ServiceMonitors by other "
        'labels; set prometheus.operatorLabels: {"release": "kps"}',
    ),
    "the one value that both take": (
        {"operatorLabels": {}},
        [
            prometheus(
                selector=expressions(team=("In", "a", "b")),
                ruleSelector=expressions(team=("NotIn", "a")),
            ),
            service(),
        ],
        "refuse: Prometheus monitoring/kps: selects PodMonitors and ServiceMonitors by other "
        'labels; set prometheus.operatorLabels: {"team": "b"}',
    ),
    "its own namespace alone": (
        {"url": "http://kps-prometheus.infra.svc:9090", "namespace": "infra"},
        [prometheus(namespace="infra"), service(namespace="infra")],
        f"refuse: Prometheus infra/kps: looks for {ALL} in its own namespace infra alone; have its "
        "owner let podMonitorNamespaceSelector, serviceMonitorNamespaceSelector and "
        "ruleNamespaceSelector select infra and monitoring",
    ),
    "namespaces with a label": (
        {},
        [prometheus(namespaces={"matchLabels": {"scraped": "yes"}}), service()],
        f"refuse: Prometheus monitoring/kps: looks for {ALL} in namespaces without monitoring; run "
        "kubectl label namespace monitoring scraped=yes, or have its owner let",
    ),
    "namespaces by name": (
        {},
        [
            prometheus(namespaces={"matchLabels": {"kubernetes.io/metadata.name": "infra"}}),
            service(),
        ],
        f"refuse: Prometheus monitoring/kps: looks for {ALL} in namespaces without monitoring; "
        "have its owner let",
    ),
    "an agent alone": (
        {},
        [prometheus(kind="PrometheusAgent"), service()],
        "warn: PrometheusAgent monitoring/kps: evaluates no rules",
    ),
    "no Prometheus": (
        {},
        [service()],
        "warn: prometheus.mode: operator, and the cluster has no Prometheus",
    ),
    "two that read": (
        {},
        [prometheus(), prometheus("second"), service()],
        "warn: Prometheus monitoring/kps, Prometheus monitoring/second: each scrapes all crawlers",
    ),
    "another namespace": (
        {"url": "https://prometheus.example.com"},
        [prometheus(namespace="infra", namespaces={})],
        "warn: Prometheus infra/kps: is not in prometheus.namespace monitoring; set "
        "prometheus.namespace: infra",
    ),
    "no such Service": (
        {"url": "http://prometheus.monitoring.svc:9090"},
        [prometheus(), service(), service("other", "shops")],
        "refuse: prometheus.url: Service monitoring/prometheus does not exist; name one of "
        "kps-prometheus.monitoring",
    ),
    "no such port": (
        {"url": "http://kps-prometheus.monitoring.svc"},
        [prometheus(), service()],
        "refuse: prometheus.url: Service monitoring/kps-prometheus has no port 80; name one of "
        "9090, 8080",
    ),
    "no pod": (
        {},
        [{**prometheus(), "status": {"availableReplicas": 0}}, service()],
        "warn: Prometheus monitoring/kps: has no pod that is ready",
    ),
    "paused": (
        {},
        [prometheus(paused=True), service()],
        "warn: Prometheus monitoring/kps: is paused",
    ),
    "shards": (
        {},
        [prometheus(shards=3), service()],
        "refuse: Prometheus monitoring/kps: has 3 shards",
    ),
    "selectors ignored": (
        {},
        [prometheus(ignoreNamespaceSelectors=True), service()],
        "refuse: Prometheus monitoring/kps: has ignoreNamespaceSelectors",
    ),
    "files denied": (
        {},
        [prometheus(arbitraryFSAccessThroughSMs={"deny": True}), service()],
        "refuse: Prometheus monitoring/kps: refuses the kubelets' ServiceMonitor",
    ),
    "an enforced namespace": (
        {},
        [prometheus(enforcedNamespaceLabel="namespace"), service()],
        "refuse: Prometheus monitoring/kps: writes monitoring over every crawler's namespace",
    ),
    "an enforced label": (
        {},
        [prometheus(enforcedNamespaceLabel="tenant"), service()],
        "warn: Prometheus monitoring/kps: gives our series and rules the label tenant=monitoring, "
        "as it has enforcedNamespaceLabel; have its owner name all our objects",
    ),
    "another object excluded": (
        {},
        [
            prometheus(
                enforcedNamespaceLabel="namespace",
                excludedFromEnforcement=[{**each, "name": "theirs"} for each in EXCLUDED],
            ),
            service(),
        ],
        "refuse: Prometheus monitoring/kps: writes monitoring over every crawler's namespace",
    ),
    "few samples by default": (
        {},
        [prometheus(sampleLimit=20), service()],
        "warn: Prometheus monitoring/kps: fails scrapes above its sampleLimit 20, and the stack",
    ),
    "few targets by default": (
        {},
        [prometheus(targetLimit=5, enforcedTargetLimit=10**6), service()],
        "warn: Prometheus monitoring/kps: fails scrapes above its targetLimit 5, and the stack",
    ),
    "rules of Thanos": (
        {},
        [prometheus(ruleSelector=None), ruler(), service()],
        "warn: ThanosRuler monitoring/thanos: evaluates the stack's rules; see that prometheus.url",
    ),
    "rules of no Thanos": (
        {},
        [prometheus(ruleSelector=None), ruler({"matchLabels": {"role": "slo"}}), service()],
        "refuse: Prometheus monitoring/kps: selects no PrometheusRules; have its owner",
    ),
    "few samples": (
        {},
        [prometheus(enforcedSampleLimit=20), service()],
        "warn: Prometheus monitoring/kps: fails scrapes above its enforcedSampleLimit 20, and the "
        "stack expects ",
    ),
    "few targets": (
        {},
        [prometheus(enforcedTargetLimit=5), service()],
        "warn: Prometheus monitoring/kps: fails scrapes above its enforcedTargetLimit 5, and",
    ),
    "another cluster": (
        {},
        [prometheus(externalLabels={"cluster": "eu"}), service()],
        "warn: Prometheus monitoring/kps: has the external label cluster=eu, and the stack says x",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_keeps_the_objects_from_prometheus_is_named(case: str) -> None:
    """Neither `up` nor the operator would say a word, and every board would stay empty."""
    keys, more, wanted = CASES[case]
    (line,) = said(asked(**keys), objects(*more))
    assert line.startswith(wanted), line
    assert "; " in line


FINE = {
    "as the chart has it": ({}, [prometheus(namespaces={}), service()]),
    "every object": ({"operatorLabels": {}}, [prometheus(selector={}), service()]),
    "another team's beside it": (
        {},
        [prometheus(), prometheus("theirs", selector=None), service()],
    ),
    "an agent beside it": ({}, [prometheus(), prometheus("a", kind="PrometheusAgent"), service()]),
    "outside the cluster": ({"url": "https://prometheus.example.com"}, [prometheus()]),
    "a querier in front": (
        {"url": "http://thanos-query.monitoring.svc:9090"},
        [prometheus(), service("thanos-query", of="thanos")],
    ),
    "the older label of a Service": (
        {},
        [
            prometheus(),
            {**service(), "spec": {"selector": {"prometheus": "kps"}, "ports": [{"port": 9090}]}},
        ],
    ),
    "excluded from enforcement": (
        {},
        [
            prometheus(enforcedNamespaceLabel="namespace", excludedFromEnforcement=EXCLUDED),
            service(),
        ],
    ),
    "excluded by name": (
        {},
        [
            prometheus(
                enforcedNamespaceLabel="namespace",
                excludedFromEnforcement=[
                    {
                        "resource": f"{each.kind.lower()}s",
                        "namespace": "monitoring",
                        "name": each.name,
                    }
                    for each in asked().plan.operator_objects
                ],
            ),
            service(),
        ],
    ),
    "a headless Service": (
        {"url": "http://prometheus-operated.monitoring.svc:10902"},
        [
            prometheus(),
            one(
                "Service",
                "prometheus-operated",
                "monitoring",
                spec={
                    "clusterIP": "None",
                    "selector": {"app.kubernetes.io/name": "prometheus"},
                    "ports": [{"port": 9090}],
                },
            ),
        ],
    ),
    "no kubelets": (
        {"nodeMetrics": False},
        [
            prometheus(serviceMonitorSelector=None, arbitraryFSAccessThroughSMs={"deny": True}),
            service(),
        ],
    ),
}


@pytest.mark.parametrize("case", FINE)
def test_nothing_is_said_of_a_prometheus_that_reads_them(case: str) -> None:
    keys, more = FINE[case]
    assert said(asked(**keys), objects(*more)) == []


def test_the_url_s_own_prometheus_is_the_one_that_counts() -> None:
    """Else a stack is good for a Prometheus that nobody queries."""
    theirs = prometheus("theirs", selector={})
    found = said(asked(operatorLabels={}), objects(prometheus(), theirs, service()))
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == [
        "Prometheus monitoring/kps",
        "Prometheus monitoring/theirs",
    ]
    assert 'set prometheus.operatorLabels: {"release": "kps"}' in found[0]
    assert "if it is meant, write its prometheus.url" in found[1]


def test_labels_that_preflight_names_are_selected() -> None:
    """What a finding says to write ends the finding."""
    for keys, more, wanted in CASES.values():
        if "set prometheus.operatorLabels: {" in wanted:
            (line,) = said(asked(**keys), objects(*more))
            written = OperatorPrometheusSettings.model_validate(
                {**KEYS, "operatorLabels": json.loads(line.partition("Labels: ")[2])}
            )
            assert said(asked(operatorLabels=written.operator_labels), objects(*more)) == []


@pytest.mark.parametrize("selector", [RELEASE, None], ids=["good", "bad"])
def test_agents_that_may_not_be_listed_hide_no_prometheus(selector: Json | None) -> None:
    """A role from before the operator had agents names `prometheuses` alone."""
    found = objects(prometheus(selector=selector, podMonitorSelector=RELEASE), service())
    (check,) = [
        each
        for each in results(
            asked(), replace(found, denied={"PrometheusAgent": "prometheusagents"}), ()
        )
        if each.name == "Prometheus"
    ]
    assert [each.level for each in check.findings] == ([] if selector else ["refuse"])
    assert check.unasked == ["prometheusagents"]


@pytest.mark.parametrize(
    ("absent", "denied"),
    [
        (("Prometheus", "PrometheusAgent"), {}),
        ((), {"Prometheus": "prometheuses"}),
        ((), {"PrometheusAgent": "prometheusagents"}),
    ],
    ids=["another program's", "denied", "agents denied"],
)
def test_nothing_is_guessed_where_none_can_be_seen(
    absent: tuple[str, ...], denied: dict[str, str]
) -> None:
    """VictoriaMetrics' operator reads PodMonitors too, and a part of a list says nothing."""
    found = objects(service(), absent=absent)
    found = replace(found, denied=denied)
    (check,) = [each for each in results(asked(), found, ()) if each.name == "Prometheus"]
    assert check.findings == []
    assert check.line().split()[0] == ("part" if denied else "good")
