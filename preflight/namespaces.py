"""The namespaces that are there: whose, and with which labels; pure."""

from __future__ import annotations

from collections.abc import Iterator

from components.namespaces.admission import NamespacePlan
from preflight.finding import Finding, refuse
from preflight.objects import Json, Objects
from preflight.selectors import labels_of
from preflight.stack import Stack, is_ours
from verify.pods import MODE, REVISION

INJECTION = "istio-injection"
KEYS = {
    "crawlers": "crawlers.createNamespaces: false",
    "monitoring": "prometheus.createNamespace: false",
    "istio": "istio.install: false",
    "simulated vendors": "simulatedVendors.enabled: false",
}
"""What a stack says where another made the namespace."""


def namespace_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield namespaces that are missing, ending, another's, or in ambient mode."""
    for plan in stack.plan.namespaces:
        one = found.namespace(plan.name)
        if one is None:
            if plan.action != "create":
                yield refuse(
                    f"Namespace {plan.name}: does not exist, and the stack does not make it; "
                    f"create it, or take {KEYS[plan.purpose]} out"
                )
            continue
        if "deletionTimestamp" in one["metadata"]:
            yield refuse(
                f"Namespace {plan.name}: is being deleted, and takes no new objects; wait until it "
                "is gone, or see in its status what holds it"
            )
            continue
        if plan.purpose == "istio" and found.of("Deployment", plan.name):
            continue  # whose istiod it is, is told by its own line
        if plan.action == "create" and not is_ours(one):
            yield refuse(
                f"Namespace {plan.name}: is another's, and `up` would take its labels and close it "
                f"by NetworkPolicies; set {KEYS[plan.purpose]}"
            )
            continue
        if plan.purpose == "crawlers":
            yield from _crawlers_findings(plan, one)


def _crawlers_findings(plan: NamespacePlan, one: Json) -> Iterator[Finding]:
    labels, what = labels_of(one), f"Namespace {plan.name}"
    if labels.get(MODE) == "ambient":
        # A pod with a sidecar is left out of it (cni/pkg/util/enablement_selector.go).
        yield refuse(
            f"{what}: is in ambient mode, where nothing names vendors, and the stack's label would "
            "take every pod out of it as it restarts; "
            f"remove its label {MODE}, or move the crawlers to another namespace"
        )
    own_revision, own_injection = labels.get(REVISION), labels.get(INJECTION)
    if revision := plan.labels.get(REVISION):
        if own_injection:
            # Each webhook of a revision wants that label away (istiod's chart,
            # templates/mutatingwebhook.yaml).
            yield refuse(
                f"{what}: has {INJECTION}={own_injection}, with which {REVISION}={revision} does "
                "nothing; remove that label, or set istio.revision: default"
            )
        elif own_revision not in (None, revision):
            yield refuse(
                f"{what}: has {REVISION}={own_revision}, and `up` would end with a conflict about "
                f"it; set istio.revision: {own_revision}"
            )
    elif own_revision and own_injection != "enabled":
        yield refuse(
            f"{what}: has {REVISION}={own_revision}, over which the stack's {INJECTION}=enabled "
            f"would win; set istio.revision: {own_revision}"
        )
    elif own_injection not in (None, "enabled"):
        yield refuse(
            f"{what}: has {INJECTION}={own_injection}, and `up` would end with a conflict about "
            "it; remove that label"
        )
