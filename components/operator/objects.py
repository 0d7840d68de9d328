"""The scrape jobs and rules as objects of the Prometheus operator.

A job becomes a monitor whose relabelings are the job's own, so that the series are the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from components.labels import PROJECT
from components.prometheus.config import ALERTMANAGER_APP
from settings.loading import SettingsError
from settings.values import format_duration

Json = dict[str, Any]

API_VERSION = "monitoring.coreos.com/v1"

# The operator hands rules on in ConfigMaps and refuses an object above 512 KiB (its
# pkg/operator/rules.go); as JSON it is the larger.
MOST_RULE_BYTES = 400_000

# What the operator writes into every target and ours have not: all series would differ.
ADDED_TO_PODS = "container|endpoint"
ADDED_TO_SERVICES = "container|endpoint|namespace|pod|service"

# The Service that the operator keeps for the kubelets, as kube-prometheus-stack has it.
KUBELET_NAMESPACE = "kube-system"
KUBELET_LABELS = {"app.kubernetes.io/name": "kubelet", "k8s-app": "kubelet"}
KUBELET_PORT = "https-metrics"


# How a job of nodes gets its label; of a Service's targets the operator writes it itself.
NODE_NAME = {"source_labels": ["__meta_kubernetes_node_name"], "target_label": "node"}


@dataclass(frozen=True, kw_only=True)
class OperatorObject:
    kind: str
    name: str
    spec: Json


def monitors(jobs: Sequence[Json], login_secret: str) -> tuple[OperatorObject, ...]:
    """Return a PodMonitor for each job of pods, and a ServiceMonitor for one of nodes.

    Args:
        login_secret: beside the monitors; its `username` and `password` are asked for by targets
            of a job with `basic_auth`.
    """
    return tuple(
        _pod_monitor(job, login_secret) if _role(job) == "pod" else _service_monitor(job)
        for job in jobs
    )


def _role(job: Json) -> str:
    return str(job["kubernetes_sd_configs"][0]["role"])


def _pod_monitor(job: Json, login_secret: str) -> OperatorObject:
    (discovery,) = job["kubernetes_sd_configs"]
    endpoint = {
        # Which container and port it is, the relabelings say.
        **_endpoint(job, ADDED_TO_PODS),
        **({"basicAuth": basic_auth(login_secret)} if "basic_auth" in job else {}),
    }
    return OperatorObject(
        kind="PodMonitor",
        name=f"{PROJECT}-{job['job_name']}",
        spec={
            "namespaceSelector": {"matchNames": [*discovery["namespaces"]["names"]]},
            "selector": {},
            "fallbackScrapeProtocol": job["fallback_scrape_protocol"],
            **(
                {"convertClassicHistogramsToNHCB": True}
                if job.get("convert_classic_histograms_to_nhcb")
                else {}
            ),
            "podMetricsEndpoints": [endpoint],
        },
    )


def _service_monitor(job: Json) -> OperatorObject:
    """Nodes are no pods; the operator keeps a Service of all their kubelets."""
    return OperatorObject(
        kind="ServiceMonitor",
        name=f"{PROJECT}-{job['job_name']}",
        spec={
            "namespaceSelector": {"matchNames": [KUBELET_NAMESPACE]},
            "selector": {"matchLabels": dict(KUBELET_LABELS)},
            "endpoints": [
                {
                    "port": KUBELET_PORT,
                    "scheme": job["scheme"],
                    "bearerTokenFile": job["authorization"]["credentials_file"],
                    "tlsConfig": _camel(job["tls_config"]),
                    # cAdvisor names the pods that it tells of by labels of its own.
                    "honorLabels": True,
                    **_endpoint(job, ADDED_TO_SERVICES),
                }
            ],
        },
    )


def _endpoint(job: Json, added: str) -> Json:
    return {
        **({"path": job["metrics_path"]} if "metrics_path" in job else {}),
        "interval": job["scrape_interval"],
        "scrapeTimeout": job["scrape_timeout"],
        "relabelings": [
            # Else it is "namespace/name of the monitor", and every rule would miss it.
            {"targetLabel": "job", "replacement": job["job_name"]},
            {"action": "labeldrop", "regex": added},
            *(_camel(r) for r in job["relabel_configs"] if r != NODE_NAME),
        ],
        **(
            {"metricRelabelings": [_camel(r) for r in job["metric_relabel_configs"]]}
            if "metric_relabel_configs" in job
            else {}
        ),
    }


def basic_auth(secret: str) -> Json:
    """Return how the operator is told of a Secret of type kubernetes.io/basic-auth."""
    return {key: {"name": secret, "key": key} for key in ("username", "password")}


def _camel(values: Mapping[str, Any]) -> Json:
    return {
        re.sub(r"_(\w)", lambda found: found[1].upper(), key): value
        for key, value in values.items()
    }


def required_prometheus_values(cluster: str, alertmanager: Json | None) -> Json:
    """Return what the owner of kube-prometheus-stack merges into its values.

    Args:
        alertmanager: our own, of `alerting_endpoint`; None where there is none. A chart that is
            given endpoints sends alerts to them, and no longer to its own Alertmanager.
    """
    return {
        "prometheus": {
            "prometheusSpec": {
                # Boards and messages name the cluster by it.
                "externalLabels": {"cluster": cluster},
                **({"alertingEndpoints": [alertmanager]} if alertmanager else {}),
            }
        }
    }


def alerting_endpoint(namespace: str, login_secret: str) -> Json:
    """Return our Alertmanager as the operator's Prometheus is told of it: its Service's pods.

    The Secret is looked for in that Prometheus' own namespace.
    """
    return {
        "namespace": namespace,
        "name": ALERTMANAGER_APP,
        "port": "http",
        "scheme": "http",
        "apiVersion": "v2",
        "basicAuth": basic_auth(login_secret),
    }


def prometheus_rules(files: Mapping[str, str], interval_seconds: int) -> tuple[OperatorObject, ...]:
    """Return each rule file as an object, or as several where it would be too large for one.

    Raises:
        SettingsError: one group alone is too large.
    """
    findings: list[str] = []
    objects: list[OperatorObject] = []
    for file, text in files.items():
        groups = [
            {"interval": format_duration(interval_seconds), **group}
            for group in _strings(yaml.load(text, Loader=_Strings)["groups"])
        ]
        findings += (
            f"alerts.ruleFiles: group {group['name']!r} of {file} has {_size([group])} bytes, "
            f"and the operator takes {MOST_RULE_BYTES}; make several of it"
            for group in groups
            if _size([group]) > MOST_RULE_BYTES
        )
        for number, part in enumerate(_parts(groups)):
            name = _object_name(file) + (f"-{number + 1}" if number else "")
            objects.append(OperatorObject(kind="PrometheusRule", name=name, spec={"groups": part}))
    if findings:
        raise SettingsError(findings)
    return tuple(objects)


def _parts(groups: list[Json]) -> Iterator[list[Json]]:
    part: list[Json] = []
    for group in groups:
        if part and _size([*part, group]) > MOST_RULE_BYTES:
            yield part
            part = []
        part.append(group)
    if part:
        yield part


def _size(groups: list[Json]) -> int:
    return len(json.dumps(groups))


def _object_name(file: str) -> str:
    """Return what Kubernetes takes for a name: "own-0-My rules.yml" is "…-own-0-my-rules"."""
    stem = re.sub(r"\.ya?ml$", "", file)
    return f"{PROJECT}-{re.sub('[^a-z0-9]+', '-', stem.lower())[:200].strip('-')}"


class _Strings(yaml.SafeLoader):
    """Reads every value as the text it is, as Prometheus does: a label's `on` or `1.0`, too."""

    # Left are nothing at all, and `<<`.
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute)
        first: [resolver for resolver in resolvers if resolver[0].endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _strings(groups: list[Json]) -> list[Json]:
    """Without keys that stand there empty; a number where the operator wants one."""

    def written(values: Json) -> Json:
        return {key: value for key, value in values.items() if value is not None}

    return [
        {
            **written(group),
            "rules": [written(rule) for rule in group["rules"]],
            **({"limit": int(group["limit"])} if group.get("limit") else {}),
        }
        for group in groups
    ]
