"""A pod's workload: a name of which there are few, however many pods and Jobs come and go.

Istio names a bare pod and a one-off Job by their own names, so ten thousand Jobs would be ten
thousand values of `source_workload`, in records that are kept for months. No rule over names can
bound that: "crawl-2026-11-30-a8f3e" ends in a date and a hash, a Job for each site ends in the
site. So only controllers that live on are named, and of all others the kind: "(Job)", "(Pod)".
Names of Kubernetes have no parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from components.labels import COMPONENT

Json = dict[str, Any]

WORKLOAD = "source_workload"
"""The label of each sidecar's series. Of a bare pod Envoy's own value is the pod's name."""

NAMES = (
    ("(.+);.+", "($1)"),
    ("(?:StatefulSet|DaemonSet);(.+)", "$1"),
    # A Deployment's or a Rollout's: the name, and the template's hash.
    ("ReplicaSet;(.+)-[a-z0-9]+", "$1"),
    # A CronJob's run ends in its time in minutes since 1970 (kubernetes/kubernetes,
    # pkg/controller/cronjob/utils.go), which are of this form from 2025 to 2046, unlike a date. The
    # pod has nothing that is surer: the timestamp of the run is an annotation of the Job alone.
    # Prometheus' `attach_metadata: {cronjob: true}` (3.11) needs the right to list Jobs, and a
    # PodMonitor of the operator (0.85) has no such field, so the two would name pods differently.
    ("Job;(.+)-(?:29|3[0-9])[0-9]{6}", "$1"),
)
"""Each expression is matched with "kind;name" of a pod's controller; the last match names the
workload."""
BARE = "(Pod)"


def workload_relabel(label: str, target_label: str) -> list[Json]:
    """Return the relabelling of discovered pods that writes their workload into `target_label`.

    Args:
        label: the pods' label that names it (`crawlers.workloadLabel`).
    """
    controller = ["__meta_kubernetes_pod_controller_kind", "__meta_kubernetes_pod_controller_name"]
    own = ((pod_label(label), "(.+)"), (pod_label(COMPONENT), "(load-generator)"))
    return [
        {"target_label": target_label, "replacement": BARE},
        *(
            {
                "source_labels": controller,
                "regex": regex,
                "target_label": target_label,
                "replacement": name,
            }
            for regex, name in NAMES
        ),
        # The load generator's pods have the crawlers' labels, and rules know it by its name.
        *(
            {"source_labels": [source], "regex": regex, "target_label": target_label}
            for source, regex in own
        ),
    ]


def workload_of(metadata: Mapping[str, Any], label: str) -> str:
    """Return what `workload_relabel` writes for a pod with this metadata."""
    labels = metadata.get("labels") or {}
    if labels.get(COMPONENT) == "load-generator":
        return "load-generator"
    if labels.get(label):
        return str(labels[label])
    owners = metadata.get("ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return BARE
    text, workload = f"{owner['kind']};{owner['name']}", BARE
    for regex, name in NAMES:
        if found := re.fullmatch(regex, text):
            workload = name.replace("$1", found[1])
    return workload


def pod_label(key: str) -> str:
    """Return the name under which Prometheus discovers a pod's label."""
    return f"__meta_kubernetes_pod_label_{re.sub('[^a-zA-Z0-9_]', '_', key)}"
