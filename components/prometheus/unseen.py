"""The scrape job `crawlers-unseen`: a target for each workload whose pods have no sidecar.

What such pods send is in no number. Prometheus finds them by Kubernetes' list of pods alone. It
must ask a target something, so that there is an `up`, and a crawler must not notice: every target
is Prometheus itself, asked for no series.
"""

from __future__ import annotations

import re
from typing import Any

from components.prometheus.relabel import keep
from components.prometheus.workloads import pod_label, workload_relabel
from settings.crawlers import Crawlers

Json = dict[str, Any]

JOB = "crawlers-unseen"
PROMETHEUS = "127.0.0.1:9090"
INJECTED = "__meta_kubernetes_pod_annotationpresent_sidecar_istio_io_status"
"""istiod's webhook writes the annotation on each pod that it injects, whether the sidecar is a
container or an init container, and on no pod with `hostNetwork`."""


def unseen_job(crawlers: Crawlers, cluster: str) -> Json:
    """Return the job for Kubernetes."""
    return {
        **asked_for_nothing(),
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [*crawlers.namespaces]}}],
        "relabel_configs": [
            {"action": "drop", "source_labels": [INJECTED], "regex": "true"},
            # A pod that waits for its node or has ended sends nothing.
            keep("__meta_kubernetes_pod_phase", "Running"),
            *(keep(pod_label(key), re.escape(value)) for key, value in crawlers.selector.items()),
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            *workload_relabel(crawlers.workload_label, "workload"),
            # A pod has a target for each port of each container, and a workload many pods. With the
            # same address and labels they are one, so series stay few while Jobs come and go.
            {"target_label": "__address__", "replacement": PROMETHEUS},
            # The operator's Prometheus adds it to every target.
            {"action": "labeldrop", "regex": "pod"},
            {"target_label": "cluster", "replacement": cluster},
        ],
    }


def asked_for_nothing() -> Json:
    """Return what a scrape of Prometheus asks for: series that there are not."""
    return {
        "job_name": JOB,
        "fallback_scrape_protocol": "PrometheusText0.0.4",
        "metrics_path": "/federate",
        "params": {"match[]": ['{__name__="none"}']},
    }
