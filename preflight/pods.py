"""The crawlers' pods, and those beside them that would get sidecars; pure."""

from __future__ import annotations

from collections.abc import Iterator

from components.prometheus.workloads import workload_of
from discover.kubectl import has_sidecar
from preflight.control_plane import injector_values, labels_after, mesh_config
from preflight.finding import Finding, refuse, warn
from preflight.objects import Json, Objects
from preflight.selectors import annotations_of, labels_of
from preflight.stack import Stack, is_ours
from verify.crawlers import vendors_of
from verify.pods import INJECT, counted_pods, orphaned, own_statistics, redirection

CAPTURE = "ISTIO_META_DNS_CAPTURE"
ENFORCE = "pod-security.kubernetes.io/enforce"


def crawlers_of(stack: Stack, found: Objects) -> list[Json]:
    """Return the running pods that are to be attributed."""
    wanted = stack.settings.crawlers.selector.items()
    pods = found.of("Pod", *stack.namespaces) if stack.namespaces else []
    return [pod for pod in pods if wanted <= labels_of(pod).items() and not is_ours(pod)]


def _other_pods(stack: Stack, found: Objects) -> list[Json]:
    """Return those in the crawlers' namespaces that `crawlers.selector` does not name."""
    wanted = stack.settings.crawlers.selector.items()
    pods = found.of("Pod", *stack.namespaces) if stack.namespaces else []
    return [pod for pod in pods if not wanted <= labels_of(pod).items() and not is_ours(pod)]


def injected_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield namespaces that `up` labels, and where more pods than the crawlers get sidecars."""
    others = _other_pods(stack, found)
    for plan in stack.plan.namespaces:
        home = found.namespace(plan.name)
        if plan.action != "label" or home is None or plan.labels.items() <= labels_of(home).items():
            continue
        names = [
            pod["metadata"]["name"]
            for pod in others
            if pod["metadata"]["namespace"] == plan.name
            and not has_sidecar(pod)
            and not opts_out(pod)
        ]
        if names:
            label = ", ".join(f"{key}={value}" for key, value in plan.labels.items())
            yield warn(
                f"Namespace {plan.name}: gets the label {label}, so pods that crawlers.selector "
                f"does not name have a sidecar, too, once they restart ({counted_pods(names)}); "
                f'label their templates {INJECT}: "false", or let them have one'
            )


def captured_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield a mesh that answers every pod's DNS: vendors' names are virtual for all of them."""
    metadata = (mesh_config(stack, found).get("defaultConfig") or {}).get("proxyMetadata") or {}
    names = [pod["metadata"]["name"] for pod in _other_pods(stack, found) if has_sidecar(pod)]
    if metadata.get(CAPTURE) == "true" and stack.settings.has_names and names:
        yield warn(
            f"MeshConfig in {stack.root}: {CAPTURE} is true for every pod, so those that "
            f"crawlers.selector does not name ({counted_pods(names)}) reach the names in hosts "
            "on listed ports alone; list every port in use"
        )


def pod_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield a line for each workload and reason why its traffic would not be attributed."""
    yield from _of_selector(stack, found)
    vendors = vendors_of(stack.settings.vendors)
    label = stack.settings.crawlers.workload_label
    counts: dict[tuple[str, str, str], list[str]] = {}
    for pod in crawlers_of(stack, found):
        metadata = pod["metadata"]
        workload = f"{metadata['namespace']}/{workload_of(metadata, label)}"
        reasons = [
            *_without_sidecar(pod),
            *redirection(annotations_of(pod), vendors),
            *own_statistics(annotations_of(pod)),
            *orphaned(pod, stack.settings.istio.revisions),
        ]
        for reason, fix in reasons:
            counts.setdefault((workload, reason, fix), []).append(metadata["name"])
    for (workload, reason, fix), names in sorted(counts.items()):
        # A workload's name, and no kind: it is told by its pods.
        yield warn(f"workload {workload}: {reason} ({counted_pods(names)}); {fix}")


def _of_selector(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield a line where the stack selects none of the pods: it would count nothing."""
    selector = stack.settings.crawlers.selector
    pods = [pod for pod in found.of("Pod", *stack.namespaces) if not is_ours(pod)]
    if stack.namespaces and selector and pods and not crawlers_of(stack, found):
        labels = ", ".join(f"{key}={value}" for key, value in selector.items())
        yield warn(
            f"crawlers.selector: {labels} selects no running pod in "
            f"{', '.join(stack.namespaces)}; give these labels to a workload's pod template"
        )


def _without_sidecar(pod: Json) -> Iterator[tuple[str, str]]:
    labels = labels_of(pod)
    if pod["spec"].get("hostNetwork"):
        yield "gets no sidecar, as it has hostNetwork", "take that out, or know it is not counted"
    elif labels.get(INJECT, annotations_of(pod).get(INJECT)) == "false":
        yield f'gets no sidecar, as {INJECT} is "false"', "remove that, or know it is not counted"


def security_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield namespaces whose level refuses the init container that redirects traffic."""
    values = injector_values(stack, found)
    cni = ((values.get("pilot") or {}).get("cni") or {}).get("enabled", stack.settings.istio.cni)
    if cni:
        return
    for name, labels in labels_after(stack, found).items():
        level = labels.get(ENFORCE, "")
        if level in ("baseline", "restricted"):
            yield refuse(
                f"Namespace {name}: its level {ENFORCE}={level} refuses istio-init, which needs "
                "NET_ADMIN, so no pod with a sidecar starts; have Istio's CNI plugin installed, "
                "or set the level privileged"
            )


def opts_out(pod: Json) -> bool:
    """Whether a pod gets no sidecar, whatever its namespace says."""
    return any(True for _ in _without_sidecar(pod))
