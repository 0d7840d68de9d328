"""Scrape jobs and rules as objects of the Prometheus operator.

A job becomes a monitor with the job's own relabelling, so that both give the same series.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from components.alertmanager.config import ALERTMANAGERS_KEY, LOGIN_SECRET
from components.labels import PROJECT
from settings.loading import SettingsError
from settings.values.quantities import format_duration

Json = dict[str, Any]

API_VERSION = "monitoring.coreos.com/v1"

# The operator copies rules into ConfigMaps and refuses an object above 512 KiB (its
# pkg/operator/rules.go). JSON is longer than the operator's YAML.
MAX_RULE_BYTES = 400_000

# Labels that the operator adds to every target. The scrape jobs have none of them.
ADDED_TO_PODS = "container|endpoint"
ADDED_TO_SERVICES = "container|endpoint|namespace|pod|service"

# The Service that the operator keeps for the kubelets; the names are kube-prometheus-stack's.
KUBELET_NAMESPACE = "kube-system"
KUBELET_LABELS = {"app.kubernetes.io/name": "kubelet", "k8s-app": "kubelet"}
KUBELET_PORT = "https-metrics"

# How a job of nodes gets its label; to targets of a Service the operator adds it itself.
NODE_NAME = {"source_labels": ["__meta_kubernetes_node_name"], "target_label": "node"}


@dataclass(frozen=True, kw_only=True)
class OperatorObject:
    kind: str
    name: str
    spec: Json


def monitors(jobs: Sequence[Json]) -> tuple[OperatorObject, ...]:
    """Return a PodMonitor for each job of pods and a ServiceMonitor for each job of nodes."""
    return tuple(
        _pod_monitor(job)
        if job["kubernetes_sd_configs"][0]["role"] == "pod"
        else _service_monitor(job)
        for job in jobs
    )


def _pod_monitor(job: Json) -> OperatorObject:
    (discovery,) = job["kubernetes_sd_configs"]
    endpoint = _endpoint(job, ADDED_TO_PODS)  # whose relabelling selects container and port
    if "basic_auth" in job:
        # Alertmanager alone has a login; the operator reads the Secret beside the monitors.
        login = {key: {"name": LOGIN_SECRET, "key": key} for key in ("username", "password")}
        endpoint["basicAuth"] = login
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
    """A monitor cannot discover nodes; the operator keeps a Service with every kubelet."""
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
                    # cAdvisor's own labels name the pod that a series is about.
                    "honorLabels": True,
                    **_endpoint(job, ADDED_TO_SERVICES),
                }
            ],
        },
    )


def _endpoint(job: Json, added: str) -> Json:
    return {
        **({"path": job["metrics_path"]} if "metrics_path" in job else {}),
        **({"params": job["params"]} if "params" in job else {}),
        "interval": job["scrape_interval"],
        "scrapeTimeout": job["scrape_timeout"],
        "relabelings": [
            # Else `job` is "namespace/name of the monitor", which no rule selects.
            {"targetLabel": "job", "replacement": job["job_name"]},
            {"action": "labeldrop", "regex": added},
            *(_camel(rule) for rule in job["relabel_configs"] if rule != NODE_NAME),
        ],
        **(
            {"metricRelabelings": [_camel(rule) for rule in job["metric_relabel_configs"]]}
            if "metric_relabel_configs" in job
            else {}
        ),
    }


def _camel(values: Mapping[str, Any]) -> Json:
    return {
        re.sub(r"_(\w)", lambda found: found[1].upper(), key): value
        for key, value in values.items()
    }


def required_prometheus_values(cluster: str, *, runs_alertmanager: bool) -> Json:
    """Return what the owner of kube-prometheus-stack merges into the chart's values.

    Prometheus then sends alerts to this program's Alertmanager as well as to the chart's own, which
    keeps every alert it had. This program's Alertmanager drops alerts of other products.
    """
    alertmanagers = {"name": LOGIN_SECRET, "key": ALERTMANAGERS_KEY}
    return {
        "prometheus": {
            "prometheusSpec": {
                # Boards and messages name the cluster by this label.
                "externalLabels": {"cluster": cluster},
                **(
                    {"additionalAlertManagerConfigsSecret": alertmanagers}
                    if runs_alertmanager
                    else {}
                ),
            }
        }
    }


def prometheus_rules(files: Mapping[str, str], interval_seconds: int) -> tuple[OperatorObject, ...]:
    """Return a PrometheusRule for each rule file.

    Raises:
        SettingsError: a file is larger than the operator takes.
    """
    objects = []
    for file, text in files.items():
        groups = [
            {"interval": format_duration(interval_seconds), **group}
            for group in yaml.load(text, yaml.CSafeLoader)["groups"]
        ]
        size = len(json.dumps(groups))
        if size > MAX_RULE_BYTES:
            raise SettingsError(
                [
                    f"alerts.ruleFiles: {file} has {size} bytes, and the operator takes "
                    f"{MAX_RULE_BYTES}; split the file"
                ]
            )
        spec = {"groups": groups}
        objects.append(OperatorObject(kind="PrometheusRule", name=_object_name(file), spec=spec))
    return tuple(objects)


def _object_name(file: str) -> str:
    """Return a name that Kubernetes takes: "own-0-My rules.yml" gives "…-own-0-my-rules"."""
    stem = re.sub(r"\.ya?ml$", "", file)
    return f"{PROJECT}-{re.sub('[^a-z0-9]+', '-', stem.lower())[:200].strip('-')}"
