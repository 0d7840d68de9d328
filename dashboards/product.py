"""The Product and target board: what a vendor sells, and which sites refuse it."""

from __future__ import annotations

from dashboards.frame import PRODUCT, TO_VENDOR, board, or_none, vendor_cells, worded
from dashboards.look import BY_OUTCOME, Look
from dashboards.panels import Json, column, limits, row, table, timeseries

_PRODUCT = '{cluster=~"$cluster", proxy_vendor=~"$vendor", proxy_pool=~"$product"}'
_TARGET = '{cluster=~"$cluster", proxy_vendor=~"$vendor", proxy_target=~"$target"}'


def product(look: Look) -> Json:
    """Return the board as Grafana's dashboard JSON."""
    return board(
        PRODUCT,
        look,
        description="Which product of a vendor fails, and which target groups ban which vendor.",
        variables=["vendor", "product", "target"],
        rows=[_products(look), _targets(look)],
    )


def _products(look: Look) -> tuple[Json, ...]:
    name = look.named("{{proxy_vendor}} {{proxy_pool}}")
    return row(
        "Which of a vendor's products?",
        timeseries(
            title="Requests by product",
            unit="reqps",
            description="By the vendor's products (proxy users) and pools (ranges, names). A line "
            "without one: no pattern of the vendor's products fits the user; add it to the stack "
            "file.",
            expr=f"proxy_vendor_pool:istio_requests:rate5m{_PRODUCT}",
            legend=name,
            colours=look.by_product(),
            links=[TO_VENDOR],
        ),
        timeseries(
            title="Failed requests by product",
            unit="percentunit",
            description="Share of a product's requests that the vendor could not carry. One alone "
            "points to its plan or quota, all of them to the vendor.",
            expr=f"proxy_vendor_pool:request_failures_per_requests:ratio_rate5m{_PRODUCT}",
            legend=name,
            colours=look.by_product(),
            above=limits(critical=look.alerts.failure_share),
            links=[TO_VENDOR],
        ),
        timeseries(
            title="Requests of the products without success, by outcome",
            unit="reqps",
            description="Why, over the products chosen. quota_exhausted of one product: its plan "
            "is used up. auth_failed: the product's user has another password.",
            expr=or_none(
                "sum by (proxy_outcome) (proxy_vendor_pool_outcome:istio_requests:rate5m"
                f'{_PRODUCT[:-1]}, proxy_outcome!="success"}})',
                "proxy_outcome",
                f"proxy_vendor_pool:istio_requests:rate5m{_PRODUCT}",
            ),
            **BY_OUTCOME,
        ),
        timeseries(
            title="Traffic by product",
            unit="Bps",
            description="Bytes on the wire both ways, of a tunnel when it closes. Most of a bill "
            "is here: the dearest product should carry only what needs it.",
            expr=f"proxy_vendor_pool:proxy_bytes:rate5m{_PRODUCT}",
            legend=name,
            colours=look.by_product(),
            links=[TO_VENDOR],
            width=10,
        ),
        table(
            title="Products, the worst first",
            description="Each product now, over 5 minutes. Compare products of the same kind over "
            "vendors, and move crawlers to the one that fails less.",
            labels=look.headings(proxy_vendor="Vendor", proxy_pool="Product"),
            values=[
                column(
                    "Failed",
                    "percentunit",
                    _by_product("request_failures_per_requests:ratio_rate5m"),
                    decimals=1,
                    above=limits(1 - look.alerts.objective, look.alerts.failure_share),
                ),
                column("Requests", "reqps", _by_product("istio_requests:rate5m")),
                column("Traffic", "Bps", _by_product("proxy_bytes:rate5m")),
            ],
            sort_by=["Failed", "Requests"],
            cells=vendor_cells(look),
            width=14,
        ),
    )


def _targets(look: Look) -> tuple[Json, ...]:
    alerts = look.alerts
    return row(
        "Which target groups?",
        timeseries(
            title="Requests by target group",
            unit="reqps",
            description="Over the vendors chosen. A group that disappears: its crawlers stopped, "
            "or its hosts are no longer those of the stack file's targets.",
            expr=f"sum by (proxy_target) (proxy_vendor_target:istio_requests:rate5m{_TARGET})",
            legend="{{proxy_target}}",
            colours=look.by_target(),
        ),
        timeseries(
            title="Failed requests by target group and vendor",
            unit="percentunit",
            description="The ten worst pairs. One target with all vendors: the site, or what "
            "crawlers ask of it. One vendor with all targets: the vendor.",
            expr="topk(10, proxy_vendor_target:request_failures_per_requests:ratio_rate5m"
            f"{_TARGET})",
            legend=look.named("{{proxy_vendor}} {{proxy_target}}"),
            above=limits(critical=alerts.failure_share),
            links=[TO_VENDOR],
        ),
        timeseries(
            title="Blocked by target group and vendor",
            unit="percentunit",
            description="Share of the requests that the sites answered with 403, 451 or 999, the "
            "ten highest. Above the line crawl these sites by another vendor, or slower.",
            expr="topk(10, proxy_vendor_target:requests_blocked_per_requests:ratio_rate5m"
            f"{_TARGET})",
            legend=look.named("{{proxy_vendor}} {{proxy_target}}"),
            above=limits(alerts.banned_share),
            links=[TO_VENDOR],
        ),
        timeseries(
            title="Traffic by target group",
            unit="Bps",
            description="Over the vendors chosen, of a tunnel when it closes. A group that grows "
            "without more requests has larger pages, or crawlers that load what nobody needs.",
            expr=worded(
                f"sum by (proxy_target) (proxy_vendor_target:proxy_bytes:rate5m{_TARGET})",
                "proxy_target",
                "no group",
            ),
            legend="{{proxy_target}}",
            colours=look.by_target(),
            width=10,
        ),
        table(
            title="Which vendor for which target group?",
            description="Each pair now, over 5 minutes. For a target group take the vendor that "
            "is blocked least; a ban is a matter between a vendor's addresses and a site.",
            labels=look.headings(proxy_target="Target group", proxy_vendor="Vendor"),
            values=[
                column(
                    "Blocked",
                    "percentunit",
                    _by_target("requests_blocked_per_requests:ratio_rate5m"),
                    decimals=1,
                    above=limits(alerts.banned_share),
                ),
                column(
                    "Failed",
                    "percentunit",
                    _by_target("request_failures_per_requests:ratio_rate5m"),
                    decimals=1,
                    above=limits(1 - alerts.objective, alerts.failure_share),
                ),
                column("Requests", "reqps", _by_target("istio_requests:rate5m")),
                column("Traffic", "Bps", _by_target("proxy_bytes:rate5m")),
            ],
            sort_by=["Blocked", "Failed"],
            cells=vendor_cells(look),
            width=14,
        ),
    )


def _by_product(record: str) -> str:
    return f"max by (cluster, proxy_vendor, proxy_pool) (proxy_vendor_pool:{record}{_PRODUCT})"


def _by_target(record: str) -> str:
    return f"max by (cluster, proxy_vendor, proxy_target) (proxy_vendor_target:{record}{_TARGET})"
