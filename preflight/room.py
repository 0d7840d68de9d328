"""Quotas and limits of the crawlers' namespaces, which must have room for sidecars; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from discover.kubectl import has_sidecar
from preflight.control_plane import injector_values
from preflight.finding import Finding, refuse
from preflight.objects import Json, Objects
from preflight.pods import opts_out
from preflight.selectors import title
from preflight.stack import Stack

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


def room_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield quotas and limits that have no room for the sidecars."""
    wanted = _sidecar_resources(stack, found)
    fix = CHANGE if stack.settings.istio.install else ANNOTATE
    for where in stack.namespaces:
        pods = found.of("Pod", where)
        number = sum(not has_sidecar(pod) and not opts_out(pod) for pod in pods)
        for quota in found.of("ResourceQuota", where):
            spec, status = quota.get("spec") or {}, quota.get("status") or {}
            if not (spec.get("scopes") or spec.get("scopeSelector")):
                used = status.get("used") or {}
                hard = spec.get("hard") or {}
                yield from _of_quota(title(quota), hard, used, wanted, number)
                yield from _unsaid(title(quota), hard, wanted, found.of("LimitRange", where))
        for limits in found.of("LimitRange", where):
            yield from _of_limits(limits, wanted, fix)


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
