"""The Fleet board: who is in trouble, since when, and why. One screen of 1920 by 1080 pixels."""

from __future__ import annotations

from dashboards.frame import (
    COST,
    FLEET,
    IN_CLUSTER,
    OF_VENDOR,
    PIPELINE,
    STATES,
    TO_VENDOR,
    UNSUCCESSFUL,
    VENDOR_LEVEL,
    board,
    link,
    vendor_cells,
)
from dashboards.look import BY_OUTCOME, Look
from dashboards.panels import (
    Json,
    at_least,
    column,
    limits,
    stat,
    state_timeline,
    table,
    timeseries,
)
from dashboards.queries import substitute
from settings.alerts import SLOW_BURN

HOUR = 3600  # seconds: a cost's record is of one
_CX = "proxy_vendor:envoy_cluster_upstream_cx"
FAILURE_RATIO = f"proxy_vendor:request_failures_per_requests:ratio_rate5m{OF_VENDOR}"


def _by_vendor(expr: str) -> str:
    """Return the query without its metric's name, so that a table has one row a vendor."""
    return f"max by (cluster, proxy_vendor) ({expr})"


# Key of the lab's table: the query of the board's table.
_COLUMNS: dict[str, str] = {
    "requests_per_second": _by_vendor(f"proxy_vendor:istio_requests:rate5m{OF_VENDOR}"),
    "failure_ratio": _by_vendor(FAILURE_RATIO),
    "setup_p95_milliseconds": _by_vendor(
        f"proxy_vendor:istio_proxy_setup_milliseconds:p95{OF_VENDOR}"
    ),
    "bytes_per_second": _by_vendor(
        f"{_CX}_tx_bytes:rate5m{OF_VENDOR} + {_CX}_rx_bytes:rate5m{OF_VENDOR}"
    ),
    "open_connections": _by_vendor(f"{_CX}_active:sum{OF_VENDOR}"),
    "connections_per_second": _by_vendor(f"{_CX}:rate5m{OF_VENDOR}"),
}
TABLE_QUERIES: dict[str, str] = {key: substitute(expr) for key, expr in _COLUMNS.items()}
"""The board's main numbers for all vendors, ready to ask; each result has `proxy_vendor`."""


def fleet(look: Look) -> Json:
    """Return the board as Grafana's dashboard JSON."""
    return board(
        FLEET,
        look,
        description="Which vendor is in trouble, since when, why, and what all of it costs. Click "
        "a vendor for more.",
        variables=["vendor"],
        rows=[_stats(look), _vendors(look), _courses(look)],
    )


def _stats(look: Look) -> list[Json]:
    size: Json = {"width": 3, "height": 3}
    alerts = look.alerts
    return [
        stat(
            title="Vendors in trouble",
            unit="short",
            description="Vendors for which an alert fires, a warning included. The table names "
            "them; open the vendor, then the alert's runbook.",
            expr=f"sum by (cluster) ({VENDOR_LEVEL} > bool 0)",
            above=limits(critical=1),
            **size,
        ),
        stat(
            title="Requests",
            unit="reqps",
            description="Plain requests and tunnels of all vendors, whichever are chosen. A fall "
            "to nothing means that crawlers stopped or that nothing is counted: see Pipeline "
            "health.",
            expr=f"cluster:istio_requests:rate5m{IN_CLUSTER}",
            **size,
        ),
        stat(
            title="Failed requests",
            unit="percentunit",
            description="Share of all requests that vendors could not carry, before crawlers "
            "retry. Red from alerts.failureShare on: find the vendor in the table.",
            expr=f"cluster:request_failures_per_requests:ratio_rate5m{IN_CLUSTER}",
            decimals=1,
            above=limits(1 - alerts.objective, alerts.failure_share),
            **size,
        ),
        stat(
            title="Traffic",
            unit="Bps",
            description="Bytes on the wire to and from all vendors (kB = 1,000 bytes), which is "
            "what most of them bill. A jump without more requests is worth a look at the table.",
            expr=f"cluster:wire_bytes:rate5m{IN_CLUSTER}",
            **size,
        ),
        *(_costs(look, size) if look.has_money else _connections(size)),
        stat(
            title="Traffic past the vendors",
            unit="percentunit",
            description="Share of the pods' bytes to no vendor and no known destination. A "
            "crawler lost its proxy, or a vendor has an address that the stack file lacks.",
            expr=f"cluster:outside_bytes_per_bytes:ratio_rate5m{IN_CLUSTER}",
            decimals=1,
            above=limits(critical=alerts.outside_share),
            **size,
        ),
        stat(
            title="Sidecars counted",
            unit="percentunit",
            description="Share of the crawlers' sidecars that answered the last scrape. What the "
            "others carry is missing on this page; below 90 % see Pipeline health.",
            expr='job:up:sum{cluster=~"$cluster", job="sidecars"}'
            ' / job:up:count{cluster=~"$cluster", job="sidecars"}',
            decimals=0,
            below=at_least(0.9, 0.99),
            links=[link(PIPELINE)],
            **size,
        ),
    ]


def _connections(size: Json) -> list[Json]:
    return [
        stat(
            title="Open connections",
            unit="short",
            description="TCP connections to all vendors now, idle ones included. If they grow and "
            "requests do not, a vendor answers slowly or crawlers leak connections.",
            expr=f"cluster:envoy_cluster_upstream_cx_active:sum{IN_CLUSTER}",
            **size,
        ),
        stat(
            title="Failed connections",
            unit="cps",
            description="TCP connections to any vendor that never came to be. More than a few: "
            "look for a vendor without connections, or for a firewall.",
            expr=f"cluster:envoy_cluster_upstream_cx_connect_fail:rate5m{IN_CLUSTER}",
            **size,
        ),
    ]


def _costs(look: Look, size: Json) -> list[Json]:
    money: Json = {
        "unit": look.money_unit,
        "decimals": 2,
        "legend": "{{currency}}",
        "links": [link(COST)],
        **size,
    }
    return [
        stat(
            title="Cost an hour",
            description="At the present traffic and the price of the next unit, commitments spread "
            "over the month. A jump without more requests: see Cost and budget.",
            expr=f"{HOUR} * sum by (currency) (proxy_vendor:cost:rate5m{IN_CLUSTER})",
            **money,
        ),
        stat(
            title="Cost of failures an hour",
            description="The part of it that vendors charge for what they refused or failed. Move "
            "crawlers from the vendor that fails, or claim it back.",
            expr=f"{HOUR} * sum by (currency) (proxy_vendor:cost_of_failures:rate5m{IN_CLUSTER})",
            **money,
        ),
    ]


def _vendors(look: Look) -> list[Json]:
    alerts = look.alerts
    budget = f"proxy_vendor:request_failures_per_budget:burnrate6h{OF_VENDOR}"
    return [
        table(
            title="Vendors, the worst first",
            description="Each vendor now, over 5 minutes. Trouble: an alert fires. Failed: what "
            "the vendor could not carry. Burn rate: times as fast as its objective allows, over "
            "six hours. Lost: of its cost, what is charged for failures. Open the vendor "
            "to see what fails and for whom.",
            labels=look.headings(proxy_vendor="Vendor"),
            values=[
                column("Trouble", "short", VENDOR_LEVEL, states=STATES),
                column("Requests", "reqps", _COLUMNS["requests_per_second"]),
                column(
                    "Failed",
                    "percentunit",
                    _COLUMNS["failure_ratio"],
                    decimals=1,
                    above=limits(1 - alerts.objective, alerts.failure_share),
                ),
                column(
                    "Set-up p95",
                    "ms",
                    _COLUMNS["setup_p95_milliseconds"],
                    above=limits(alerts.setup_milliseconds),
                ),
                column(
                    "Burn rate", "short", _by_vendor(budget), decimals=1, above=limits(SLOW_BURN)
                ),
                column("Traffic", "Bps", _COLUMNS["bytes_per_second"]),
                column("Open", "short", _COLUMNS["open_connections"]),
                column("New", "cps", _COLUMNS["connections_per_second"]),
                *(_costs_of_vendors(look) if look.has_money else ()),
            ],
            sort_by=["Trouble", "Failed"],
            cells=vendor_cells(look),
            width=15,
            height=11,
        ),
        state_timeline(
            title="Alerts by vendor",
            description="When an alert of the vendor began and ended. Several at the same moment "
            "point to the crawlers or the network rather than to the vendors.",
            expr=VENDOR_LEVEL,
            legend=look.named("{{proxy_vendor}}"),
            states=STATES,
            links=[TO_VENDOR],
            width=9,
            height=11,
        ),
    ]


def _costs_of_vendors(look: Look) -> list[Json]:
    def an_hour(record: str) -> str:
        return f"{HOUR} * sum by (cluster, proxy_vendor) ({record}:rate5m{OF_VENDOR})"

    return [
        column("Cost an hour", look.money_unit, an_hour("proxy_vendor:cost"), decimals=2),
        column("Lost", look.money_unit, an_hour("proxy_vendor:cost_of_failures"), decimals=2),
    ]


def _courses(look: Look) -> list[Json]:
    alerts = look.alerts
    size: Json = {"width": 8, "height": 8}
    return [
        look.vendor_lines(
            title="Failed requests by vendor",
            unit="percentunit",
            description="Since when, and which vendor. One line alone is that vendor's trouble; "
            "all together are the crawlers' or the network's. Click a line to open its vendor.",
            expr=FAILURE_RATIO,
            above=limits(critical=alerts.failure_share),
            links=[TO_VENDOR],
            **size,
        ),
        timeseries(
            title="Requests without success, by outcome",
            unit="reqps",
            description="Why, over the vendors chosen. Grey outcomes are not held against a "
            "vendor. auth_failed: look at the password; quota_exhausted: buy traffic; blocked: "
            "change vendor or pace for that site; connect_failed: look at the network.",
            expr=UNSUCCESSFUL,
            **BY_OUTCOME,
            **size,
        ),
        _cost(look, size) if look.has_money else _traffic(look, size),
    ]


def _traffic(look: Look, size: Json) -> Json:
    return look.vendor_lines(
        title="Traffic by vendor",
        unit="Bps",
        description="Bytes on the wire both ways, live while a tunnel is open. A vendor that "
        "falls to nothing while others go on is silent: see its alerts.",
        expr=f"{_CX}_tx_bytes:rate5m{OF_VENDOR} + {_CX}_rx_bytes:rate5m{OF_VENDOR}",
        links=[TO_VENDOR],
        **size,
    )


def _cost(look: Look, size: Json) -> Json:
    return look.vendor_lines(
        title="Cost by vendor, an hour",
        unit=look.money_unit,
        description="Live, commitments included. A vendor whose cost rises without more requests "
        "carries larger pages, or retries of what fails. Click a line to open its vendor.",
        expr=f"{HOUR} * proxy_vendor:cost:rate5m{OF_VENDOR}",
        legend=look.money_named("{{proxy_vendor}}"),
        links=[TO_VENDOR],
        **size,
    )
