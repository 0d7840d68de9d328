"""The crawlers' pods, and what their namespaces allow a sidecar; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from components.prometheus.workloads import workload_of
from discover.kubectl import has_sidecar
from preflight.control_plane import injector_values, labels_after, mesh_config
from preflight.finding import Finding, refuse, warn
from preflight.objects import Json, Objects
from preflight.selectors import annotations_of, labels_of, title
from preflight.stack import Stack, is_ours
from verify.crawlers import vendors_of
from verify.pods import INJECT, counted_pods, orphaned, own_statistics, redirection

CAPTURE = "ISTIO_META_DNS_CAPTURE"
ENFORCE = "pod-security.kubernetes.io/enforce"
CHANGE = "change istio.sidecar"
ANNOTATE = (
    "annotate the pods with sidecar.istio.io/proxyCPU, proxyMemory, proxyCPULimit and "
    "proxyMemoryLimit"
)
"""All four: one of them replaces all that the mesh's owner set (injection-template.yaml)."""
UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}


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
            and not _opts_out(pod)
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


def room_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield quotas and limits that have no room for the sidecars."""
    wanted = _sidecar_resources(stack, found)
    fix = CHANGE if stack.settings.istio.install else ANNOTATE
    for where in stack.namespaces:
        pods = found.of("Pod", where)
        number = sum(not has_sidecar(pod) and not _opts_out(pod) for pod in pods)
        for quota in found.of("ResourceQuota", where):
            spec, status = quota.get("spec") or {}, quota.get("status") or {}
            if not (spec.get("scopes") or spec.get("scopeSelector")):
                used = status.get("used") or {}
                hard = spec.get("hard") or {}
                yield from _of_quota(title(quota), hard, used, wanted, number)
                yield from _unsaid(title(quota), hard, wanted, found.of("LimitRange", where))
        for limits in found.of("LimitRange", where):
            yield from _of_limits(limits, wanted, fix)


def _opts_out(pod: Json) -> bool:
    return any(True for _ in _without_sidecar(pod))


def _sidecar_resources(stack: Stack, found: Objects) -> Mapping[str, str]:
    """Return what a sidecar asks for: "requests.cpu" and so on; empty if nobody says it."""
    if stack.settings.istio.install:
        own = stack.settings.istio.sidecar
        parts = {
            "requests": {"cpu": own.requests.cpu, "memory": own.requests.memory},
            "limits": {"cpu": own.limits.cpu, "memory": own.limits.memory},
        }
    else:
        proxy = (injector_values(stack, found).get("global") or {}).get("proxy") or {}
        parts = proxy.get("resources") or {}
    return {
        f"{part}.{name}": str(amount)
        for part in ("requests", "limits")
        for name, amount in (parts.get(part) or {}).items()
    }


def _of_quota(
    what: str, hard: Json, used: Json, wanted: Mapping[str, str], number: int
) -> Iterator[Finding]:
    for key, amount in wanted.items():
        # Requests may stand without the word.
        short = key.removeprefix("requests.")
        name = key if key in hard else short
        most, taken, each = (_amount(one) for one in (hard.get(name), used.get(name, "0"), amount))
        if None in (most, taken, each) or not number:
            continue
        assert most is not None
        assert taken is not None
        assert each is not None
        if taken + number * each > most:
            yield refuse(
                f"{what}: {name} {hard[name]}, of which {used.get(name, '0')} is used, has no room "
                f"for sidecars of {number} pods ({amount} each), which would not start; raise it"
            )


def _unsaid(
    what: str, hard: Json, wanted: Mapping[str, str], ranges: Sequence[Json]
) -> Iterator[Finding]:
    """Yield what a quota wants said of every container, and nobody says of a sidecar."""
    given = {
        name
        for one in ranges
        for item in (one.get("spec") or {}).get("limits") or ()
        if item.get("type") == "Container"
        for name in {**(item.get("default") or {}), **(item.get("max") or {})}
    }
    for name in ("cpu", "memory"):
        key = f"limits.{name}"
        if wanted and key in hard and key not in wanted and name not in given:
            yield refuse(
                f"{what}: wants {key} of every container, and a sidecar has none, so no pod with "
                f"one starts; {ANNOTATE}, or have a LimitRange give a default"
            )


def _of_limits(limits: Json, wanted: Mapping[str, str], fix: str) -> Iterator[Finding]:
    """Yield what keeps every pod with a sidecar from being made."""
    for item in (limits.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        for name in ("cpu", "memory"):
            requested, limited = wanted.get(f"requests.{name}"), wanted.get(f"limits.{name}")
            request, limit = _amount(requested), _amount(limited)
            most, least = (_amount((item.get(key) or {}).get(name)) for key in ("max", "min"))
            ratio = _amount((item.get("maxLimitRequestRatio") or {}).get(name))
            said = ""
            if limit and most is not None and limit > most:
                said = f"{name} {item['max'][name]}, and a sidecar is limited to {limited}"
            elif request and least is not None and request < least:
                said = (
                    f"no less {name} than {item['min'][name]}, and a sidecar requests {requested}"
                )
            elif request and limit and ratio and limit > ratio * request:
                said = (
                    f"a limit of {name} of {ratio} requests, and a sidecar requests {requested} "
                    f"and is limited to {limited}"
                )
            if said:
                yield refuse(
                    f"{title(limits)}: allows a container {said}, so no pod with one starts; "
                    f"change it, or {fix}"
                )


def _amount(text: object) -> Decimal | None:
    """Read a quantity of Kubernetes; None for what is none."""
    written = str(text)
    number = written.rstrip("nukKMGTPEim")
    try:
        found = Decimal(number) * UNITS[written[len(number) :]]
        return found if found.is_finite() else None
    except (InvalidOperation, KeyError):
        return None
