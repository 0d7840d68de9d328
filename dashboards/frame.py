"""What surrounds the panels: variables, links from board to board, and alerts as annotations.

A variable has the same name on each board, so that a link keeps what was chosen. Each series has
the label `cluster`, and each query selects the clusters chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.look import Look
from dashboards.panels import CRITICAL, DATASOURCE, GOOD, WARNING, Json, coloured_cells, dashboard

FLEET, VENDOR, PRODUCT, WORKLOAD = "proxy-fleet", "proxy-vendor", "proxy-product", "proxy-workload"
COST, ERROR_BUDGET = "proxy-cost", "proxy-error-budget"
PIPELINE, LOAD_GENERATOR = "proxy-pipeline", "proxy-load-generator"

TITLES: dict[str, str] = {
    FLEET: "Fleet",
    VENDOR: "Vendor",
    PRODUCT: "Product and target",
    WORKLOAD: "Team and workload",
    COST: "Cost and budget",
    ERROR_BUDGET: "Error budget",
    PIPELINE: "Pipeline health",
    LOAD_GENERATOR: "Load generator: truth against mesh",
}
"""Of every board, in the order of an operator's questions. An uid begins with `proxy-`, since a
Grafana of others has a board `vendor` of its own."""

IN_CLUSTER = '{cluster=~"$cluster"}'
OF_VENDOR = '{cluster=~"$cluster", proxy_vendor=~"$vendor"}'

CONNECTIONS = "proxy_vendor:envoy_cluster_upstream_cx:rate5m"
_PRODUCTS = "proxy_vendor_pool:istio_requests:rate5m"
_TARGETS = "proxy_vendor_target:istio_requests:rate5m"
_WORKLOADS = "workload_proxy_vendor:istio_requests:rate5m"

# Name: heading, and the query of its values.
_VARIABLES: dict[str, tuple[str, str]] = {
    "cluster": ("Cluster", f"label_values({CONNECTIONS}, cluster)"),
    # This record has vendors of opaque connections alone too, and `outside`.
    "vendor": ("Vendor", f"label_values({CONNECTIONS}{IN_CLUSTER}, proxy_vendor)"),
    "product": ("Product", f"label_values({_PRODUCTS}{OF_VENDOR}, proxy_pool)"),
    "target": ("Target group", f"label_values({_TARGETS}{OF_VENDOR}, proxy_target)"),
    "team": ("Team", f"label_values(team_proxy_vendor:proxy_bytes:rate5m{OF_VENDOR}, team)"),
    "namespace": (
        "Namespace",
        f"label_values({_WORKLOADS}{IN_CLUSTER}, source_workload_namespace)",
    ),
    "workload": (
        "Workload",
        f'label_values({_WORKLOADS}{{cluster=~"$cluster", source_workload_namespace=~"$namespace"}}'
        ", source_workload)",
    ),
}

# Alerts of this stack; others' may be in the same Prometheus.
_ALERTS = 'ALERTS{cluster=~"$cluster", product="proxy-observability", alertstate="firing", '
STATES: Mapping[float, tuple[str, str]] = {
    0: ("no alert", GOOD),
    1: ("warning", WARNING),
    2: ("critical", CRITICAL),
}


def alert_level(labels: str, of: str, rest: str = "") -> str:
    """Return the query for 0, 1 or 2 by these labels: no alert, a warning or a critical one fires.

    Args:
        of: further matchers of the alerts.
        rest: the query of what is shown as 0 where no alert fires.
    """
    critical, warning = (f'{_ALERTS}{of}, severity="{each}"}}' for each in ("critical", "warning"))
    others = f" or 0 * {rest}" if rest else ""
    return f"max by ({labels}) (2 * {critical} or {warning}{others})"


VENDOR_LEVEL = alert_level(
    "cluster, proxy_vendor",
    'proxy_vendor=~"$vendor", proxy_vendor!=""',
    f"proxy_vendor:slo:ratio{OF_VENDOR}",
)


def or_none(expr: str, label: str, of: str) -> str:
    """Return a query of what happens at times, with a line "none" while it does not.

    Args:
        label: what names its lines.
        of: the query of what there is always, unless nothing is measured.
    """
    none = f'label_replace(0 * sum({of}) unless sum({expr}), "{label}", "none", "", "")'
    return f"{expr} or {none}"


def worded(expr: str, label: str, word: str) -> str:
    """Return a query whose line without the label has a word in its place."""
    return f'label_replace({expr}, "{label}", "{word}", "{label}", "")'


def link(board: str, **values: str) -> Json:
    """Return a link of a panel that keeps data source, clusters and time, and chooses `values`.

    A value may be of the series clicked, "${__field.labels.proxy_vendor}", or of the table's row.
    """
    chosen = "".join(f"&var-{name}={value}" for name, value in values.items())
    return {
        "title": f"Open {TITLES[board]}",
        "url": f"/d/{board}?${{datasource:queryparam}}&${{cluster:queryparam}}{chosen}"
        "&${__url_time_range}",
    }


UNSUCCESSFUL = or_none(
    "sum by (proxy_outcome) (proxy_vendor_outcome:istio_requests:rate5m"
    '{cluster=~"$cluster", proxy_vendor=~"$vendor", proxy_outcome!="success"})',
    "proxy_outcome",
    f"proxy_vendor:istio_requests:rate5m{OF_VENDOR}",
)
TO_VENDOR = link(VENDOR, vendor="${__field.labels.proxy_vendor}")


def vendor_cells(look: Look) -> dict[str, list[Json]]:
    """Return the cells of a table's vendors: each in its colour, with a link to its board."""
    to_vendor = link(VENDOR, vendor="${__data.fields.Vendor}")
    return {"Vendor": coloured_cells(look.vendor_cells(), [to_vendor])}


def shown(look: Look) -> tuple[str, ...]:
    """Return the boards of a stack: without those of which nothing is known."""
    unknown = {COST: not look.has_money, LOAD_GENERATOR: not look.has_generator}
    return tuple(uid for uid in TITLES if not unknown.get(uid))


def board(
    uid: str,
    look: Look,
    *,
    description: str,
    variables: Sequence[str],
    rows: Sequence[Sequence[Json]],
) -> Json:
    """Return a board: data source and cluster come first among its variables."""
    return dashboard(
        uid=uid,
        title=TITLES[uid],
        description=description,
        variables=[_datasource(), *map(_variable, ("cluster", *variables))],
        rows=rows,
        links=[_to_board(other) for other in shown(look) if other != uid],
        annotations=[
            _annotation("Critical alerts", "critical", CRITICAL),
            _annotation("Warnings", "warning", WARNING),
        ],
    )


def _datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        # The uid in provisioning.py. Where it is another one, Grafana takes the first there is.
        "current": {"text": "Prometheus", "value": "prometheus"},
        "multi": False,
        "includeAll": False,
        "refresh": 1,
    }


def _variable(name: str) -> Json:
    """Return a variable with the values of a label: any number of them, or all."""
    label, query = _VARIABLES[name]
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor"},
        "definition": query,
        "multi": True,
        "includeAll": True,
        # Without it "All" becomes a list of those seen, and a new vendor is missing until reload.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,  # on each change of the time range
        "sort": 1,
    }


def _to_board(uid: str) -> Json:
    return {
        "type": "link",
        "title": TITLES[uid],
        "url": f"/d/{uid}",
        "icon": "dashboard",
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "asDropdown": False,
        "tags": [],
        "tooltip": "",
    }


def _annotation(name: str, severity: str, colour: str) -> Json:
    """Return alerts as regions over all panels (grafana-prometheus, src/annotations.ts)."""
    expr = f'{_ALERTS}severity="{severity}"}}'
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": colour,
        # Older releases of Grafana read the query from here, newer ones from `target`.
        "expr": expr,
        "target": {"refId": "Anno", "expr": expr, "range": True},
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{proxy_vendor}} {{proxy_target}}",
        "tagKeys": "severity,proxy_vendor",
    }
