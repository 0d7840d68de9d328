"""Where pods run, what their volumes are and where images come from: said once, for every object.

A transformation of Pulumi's, inherited by each child of a component. With an argument of each
component instead, a pod that forgets it would run on whatever node there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from settings.images import Images
from settings.scheduling import Scheduling

Transformation = Callable[
    [pulumi.ResourceTransformationArgs], pulumi.ResourceTransformationResult | None
]


def placement(
    scheduling: Scheduling, images: Images, *, on_openshift: bool = False
) -> Transformation:
    """Return what gives every pod and every claim of the program its place and its images."""

    def place(args: pulumi.ResourceTransformationArgs) -> None:
        spec = args.props.get("spec")
        for template in _templates(spec):
            _place_pod(template, scheduling, images)
            if on_openshift:
                _leave_the_user(template)
        if scheduling.storage_class:
            for claim in _claims(spec):
                claim.storage_class_name = scheduling.storage_class

    return place


def _templates(spec: Any) -> Iterator[core.PodTemplateSpecArgs]:
    """Yield the pods' template of a workload's spec, also of the jobs that a CronJob makes."""
    job = getattr(spec, "job_template", None)
    template = getattr(job.spec if job else spec, "template", None)
    if isinstance(template, core.PodTemplateSpecArgs):
        yield template


def _claims(spec: Any) -> Iterator[core.PersistentVolumeClaimSpecArgs]:
    if isinstance(spec, core.PersistentVolumeClaimSpecArgs):
        yield spec
    for claim in getattr(spec, "volume_claim_templates", None) or ():
        yield claim.spec


def _place_pod(template: Any, scheduling: Scheduling, images: Images) -> None:
    pod, labels = template.spec, template.metadata.labels
    for container in (*pod.containers, *(pod.init_containers or ())):
        container.image = images.of(container.image)
    if images.pull_secrets:
        pod.image_pull_secrets = [
            core.LocalObjectReferenceArgs(name=name) for name in images.pull_secrets
        ]
    if scheduling.node_selector:
        pod.node_selector = dict(scheduling.node_selector)
    if scheduling.tolerations:
        pod.tolerations = [
            core.TolerationArgs(
                key=one.key, operator=one.operator, value=one.value, effect=one.effect
            )
            for one in scheduling.tolerations
        ]
    if scheduling.priority_class:
        pod.priority_class_name = scheduling.priority_class
    if scheduling.topology_spread:
        asked = [*_spreads(scheduling, labels)]
        # Kubernetes refuses two constraints that agree in these.
        pairs = {(one.topology_key, one.when_unsatisfiable) for one in asked}
        own = [
            one
            for one in pod.topology_spread_constraints or ()
            if (one.topology_key, one.when_unsatisfiable) not in pairs
        ]
        pod.topology_spread_constraints = [*own, *asked]


def _leave_the_user(template: Any) -> None:
    """Let OpenShift choose the user, and the group that owns the volumes.

    Its SCC `restricted-v2` takes them from a range of the namespace's own, and refuses a pod that
    names others.
    """
    context = template.spec.security_context
    context.run_as_user = context.run_as_group = context.fs_group = None


def _spreads(
    scheduling: Scheduling, labels: Mapping[str, str]
) -> Iterator[core.TopologySpreadConstraintArgs]:
    for spread in scheduling.topology_spread:
        yield core.TopologySpreadConstraintArgs(
            topology_key=spread.topology_key,
            max_skew=spread.max_skew,
            when_unsatisfiable=spread.when_unsatisfiable,
            # The pods of one workload are those with all its labels.
            label_selector=meta.LabelSelectorArgs(match_labels=labels),
        )
