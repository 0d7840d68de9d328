"""All checks, and what each must be able to list; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from preflight import (
    control_plane,
    mutual_tls,
    namespaces,
    network,
    others_objects,
    platform,
    pods,
    prometheus,
    room,
    sidecars,
)
from preflight.finding import Finding
from preflight.objects import Objects
from preflight.rights import right_findings
from preflight.stack import Made, Stack


@dataclass(frozen=True)
class Check:
    """A question, the kinds that it cannot do without, and who answers it."""

    name: str
    kinds: tuple[str, ...]
    ask: Callable[[Stack, Objects], Iterator[Finding]]


INJECTORS = "MutatingWebhookConfiguration"
"""They say which istiod is the crawlers', and so which ConfigMaps. `view` does not list them."""

PLATFORM = (
    Check("version", (), platform.version_findings),
    Check("namespaces", ("Namespace",), namespaces.namespace_findings),
    Check("storage", ("StorageClass",), platform.storage_findings),
    Check("snapshots", ("VolumeSnapshotClass",), platform.snapshot_findings),
    Check("priority", ("PriorityClass",), platform.priority_findings),
    Check("operators", (), platform.operator_findings),
)
CRAWLERS = (
    Check("Istio", ("Deployment", "Namespace", INJECTORS), control_plane.release_findings),
    Check("injection", (INJECTORS,), control_plane.injection_findings),
    Check("mesh policy", ("ConfigMap", INJECTORS), control_plane.policy_findings),
    Check("Sidecars", ("Sidecar", "Pod"), sidecars.sidecar_findings),
    Check("vendors' ports", ("Service", "ServiceEntry"), others_objects.shadow_findings),
    Check("mTLS", ("PeerAuthentication", "Service"), mutual_tls.mutual_tls_findings),
    Check("EnvoyFilters", ("EnvoyFilter", "Pod"), others_objects.filter_findings),
    Check("ProxyConfigs", ("ProxyConfig", "Pod"), others_objects.proxy_config_findings),
    Check("pods", ("Pod",), pods.pod_findings),
    Check("other pods", ("Namespace", "Pod"), pods.injected_findings),
    Check("their DNS", ("ConfigMap", "Pod", INJECTORS), pods.captured_findings),
    Check("Pod Security", ("Namespace", "ConfigMap", INJECTORS), pods.security_findings),
    Check(
        "room", ("Pod", "ResourceQuota", "LimitRange", "ConfigMap", INJECTORS), room.room_findings
    ),
    Check("network", ("Pod", "NetworkPolicy"), network.network_findings),
)


OPERATED = (
    Check(
        "Prometheus",
        ("Prometheus", "PrometheusAgent", "ThanosRuler", "Namespace", "Service"),
        prometheus.prometheus_findings,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a check found, and the kinds that it may not list."""

    name: str
    findings: Sequence[Finding]
    unasked: Sequence[str] = ()

    def line(self) -> str:
        levels = {one.level for one in self.findings}
        word = next((one for one in ("refuse", "warn") if one in levels), "")
        return f"{word or ('part' if self.unasked else 'good'):6}  {self.name}"

    def as_json(self) -> dict[str, object]:
        findings = [{"level": one.level, "text": one.text} for one in self.findings]
        return {"name": self.name, "findings": findings, "unasked": [*self.unasked]}


def results(stack: Stack, found: Objects, missing_rights: Sequence[Made]) -> list[Result]:
    """Ask all checks.

    One that lacks a kind altogether is not asked; one that may list it in some namespaces alone is.
    """
    operated = () if stack.settings.runs_prometheus else OPERATED
    checks = [*PLATFORM, *operated, *(CRAWLERS if stack.settings.has_crawlers else ())]
    rights = Result(name="rights", findings=[*right_findings(missing_rights)])
    return [*(_result(check, stack, found) for check in checks), rights]


def _result(check: Check, stack: Stack, found: Objects) -> Result:
    unasked = [found.denied[kind] for kind in check.kinds if kind in found.denied]
    listed = all(kind in found.items or kind in found.absent for kind in check.kinds)
    findings = [*check.ask(stack, found)] if listed else []
    return Result(name=check.name, findings=findings, unasked=unasked)
