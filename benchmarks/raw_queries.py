"""What a panel would ask if nothing was recorded: its records replaced by their definitions."""

from __future__ import annotations

import re
from collections.abc import Mapping

RECORD = re.compile(r"\b(\w+(?::\w+)+)(?:\{([^}]*)\})?(\[)?")
MATCHER = re.compile(r'\w+(?:=~|!~|!=|=)"[^"]*"')
SELECTOR = re.compile(r"\b((?:istio|envoy)_\w+)\{([^}]*)\}")

# The rules read these in a form that counts each request of a pod that lives for seconds. Without
# records one would write rate(), which is cheaper.
PLAIN = {
    f"workload_team_proxy_vendor_pool_visibility_{by}_target:{metric}:rate5m": (
        "sum by (cluster, source_workload, source_workload_namespace, team, proxy_vendor, "
        f"proxy_pool, proxy_visibility, proxy_{by}, proxy_target) "
        f'(rate({metric}_total{{job="sidecars", proxy_vendor!=""}}[5m]))'
    )
    for by, metric in (
        ("outcome", "istio_requests"),
        ("result", "istio_proxy_request_bytes"),
        ("result", "istio_proxy_response_bytes"),
    )
}


class NoRawQueryError(ValueError):
    """A record has no raw question: a constant, something of other jobs, or a record's past."""


def raw(expression: str, rules: Mapping[str, str]) -> str:
    """Return the expression without records; its matchers go to the series that they are of.

    Raises:
        NoRawQueryError: it reads what no sidecar exposes.
    """

    def replaced(found: re.Match[str]) -> str:
        name, matchers, is_range = found.groups()
        if is_range:
            raise NoRawQueryError(f"{name}: its past is read")
        if name not in rules:
            raise NoRawQueryError(f"{name}: no rule records it")
        inner = raw(PLAIN.get(name) or rules[name], rules)
        wanted = MATCHER.findall(matchers or "")
        if wanted and not SELECTOR.search(inner):
            raise NoRawQueryError(f"{name}: there is nothing to select from")
        for one in wanted:
            inner = _narrowed(inner, one)
        return f"({inner.strip()})"

    found = RECORD.sub(replaced, expression)
    if re.search(r"\bALERTS\b|\bup\{|\bvector\(", found):
        raise NoRawQueryError("alerts, constants and `up` are no series of sidecars")
    if re.search(r"\$\d", found):
        raise NoRawQueryError("a group of a regular expression would pass for a variable")
    return found


def _narrowed(expression: str, matcher: str) -> str:
    return SELECTOR.sub(lambda own: f"{own[1]}{{{own[2]}, {matcher}}}", expression)
