"""The Vendor board: what one vendor carries, how it fails, and for whom."""

from __future__ import annotations

from dashboards.frame import (
    OF_VENDOR,
    PRODUCT,
    STATES,
    UNSUCCESSFUL,
    VENDOR,
    VENDOR_LEVEL,
    WORKLOAD,
    alert_level,
    board,
    link,
    worded,
)
from dashboards.look import BY_OUTCOME, Look
from dashboards.panels import Json, limits, row, state_timeline, timeseries

_CX = "proxy_vendor:envoy_cluster_upstream_cx"
_ALERT_LEVEL = alert_level(
    "cluster, proxy_vendor, alertname", 'proxy_vendor=~"$vendor", proxy_vendor!=""'
)


def vendor(look: Look) -> Json:
    """Return the board as Grafana's dashboard JSON."""
    return board(
        VENDOR,
        look,
        description="What the vendors chosen carry, how they fail, and for whom.",
        variables=["vendor"],
        rows=[_working(look), _why(look), _carries(look), _who(look), _trust(look)],
    )


def _working(look: Look) -> tuple[Json, ...]:
    alerts = look.alerts
    return row(
        "Is it working?",
        state_timeline(
            title="Alerts",
            description="The vendor's worst alert, and each alert that fired. Its runbook, linked "
            "in the message, says what to do.",
            expr=[
                (VENDOR_LEVEL, look.named("{{proxy_vendor}}")),
                (_ALERT_LEVEL, look.named("{{alertname}} {{proxy_vendor}}")),
            ],
            states=STATES,
            width=24,
            height=8,
        ),
        look.vendor_lines(
            title="Requests",
            unit="reqps",
            description="Plain requests and CONNECTs, and SOCKS5 of passive vendors. A tunnel "
            "counts when it closes, a passive vendor's once it stands. If this stops and the "
            "traffic goes on, nothing is read: see Opaque connections.",
            expr=f"proxy_vendor:istio_requests:rate5m{OF_VENDOR}",
        ),
        look.vendor_lines(
            title="Failed requests",
            unit="percentunit",
            description="Share of all requests that the vendor could not carry, before the "
            "crawler retries. Above the line it is critical: move the crawlers, then ask the "
            "vendor. Targets' answers and what crawlers cancelled are no failures.",
            expr=f"proxy_vendor:request_failures_per_requests:ratio_rate5m{OF_VENDOR}",
            above=limits(critical=alerts.failure_share),
        ),
        timeseries(
            title="Requests without success, by outcome",
            unit="reqps",
            description="Why, over the vendors chosen. Grey outcomes are not held against the "
            "vendor. policy: it carries no such request for anybody. rejected: Envoy refused the "
            "crawler's request, and nothing reached the vendor.",
            expr=UNSUCCESSFUL,
            **BY_OUTCOME,
        ),
    )


def _why(look: Look) -> tuple[Json, ...]:
    alerts = look.alerts
    return row(
        "Is it slow, or out of reach?",
        look.vendor_lines(
            title="Set-up time, median",
            unit="ms",
            description="From a request's first byte to the answer's headers: for a tunnel what "
            "the vendor needs to open it, for a plain request the target's time too. If the "
            "median rises, all crawlers wait: use another vendor meanwhile.",
            expr=f"proxy_vendor:istio_proxy_setup_milliseconds:p50{OF_VENDOR}",
            width=6,
        ),
        look.vendor_lines(
            title="Set-up time, 95th percentile",
            unit="ms",
            description="One answered request in twenty waits longer. A line at the highest "
            "bucket's bound means that or more. Above the line ask the vendor, or crawl slower.",
            expr=f"proxy_vendor:istio_proxy_setup_milliseconds:p95{OF_VENDOR}",
            above=limits(alerts.setup_milliseconds),
            width=6,
        ),
        look.vendor_lines(
            title="Failed connections",
            unit="percentunit",
            description="Share of the TCP connections to the vendor that never came to be, "
            "whatever they were to carry. Above the line some of its addresses are dead, or a "
            "firewall stands between.",
            expr=f"proxy_vendor:connect_failures_per_connections:ratio_rate5m{OF_VENDOR}",
            above=limits(alerts.connect_failure_share),
            width=6,
        ),
        look.vendor_lines(
            title="Connections timed out",
            unit="cps",
            description="Those that nobody answered: a dead or overloaded address, or a firewall "
            "that drops packets. Refused ones are in the panel beside.",
            expr=f"{_CX}_connect_timeout:rate5m{OF_VENDOR}",
            width=6,
        ),
    )


def _carries(look: Look) -> tuple[Json, ...]:
    return row(
        "What does it carry?",
        look.vendor_lines(
            title="Traffic, both ways",
            unit="Bps",
            description="Bytes on the wire between pods and vendor, which is what most vendors "
            "bill (kB = 1,000 bytes), live while a tunnel is open. Compare with the invoice.",
            expr=f"proxy_vendor:wire_bytes:rate5m{OF_VENDOR}",
        ),
        timeseries(
            title="Traffic, by what came of it",
            unit="Bps",
            description="Bytes of requests that were delivered, refused or failed, of a tunnel "
            "when it closes. Most vendors bill all of it: what is refused or failed is money for "
            "nothing.",
            expr=worded(
                f"sum by (proxy_result) (proxy_vendor_result:proxy_bytes:rate5m{OF_VENDOR})",
                "proxy_result",
                "not readable",
            ),
            legend="{{proxy_result}}",
            stacked=True,
        ),
        look.vendor_lines(
            title="Sent to the vendor",
            unit="Bps",
            description="Bytes on the wire from pods to the vendor, the rest is received. More "
            "than a tenth of all is unusual for crawlers: look for uploads.",
            expr=f"{_CX}_tx_bytes:rate5m{OF_VENDOR}",
        ),
        look.vendor_lines(
            title="New connections",
            unit="cps",
            description="TCP connections begun towards the vendor, failed ones included. Far more "
            "than requests: crawlers do not keep connections.",
            expr=f"{_CX}:rate5m{OF_VENDOR}",
        ),
        look.vendor_lines(
            title="Open connections",
            unit="short",
            description="TCP connections to the vendor now, idle ones included: a crawler that "
            "left keeps one for the vendor's idleTimeout. Compare with the plan's limit. It is "
            "not the number of tunnels.",
            expr=f"{_CX}_active:sum{OF_VENDOR}",
        ),
        timeseries(
            title="Requests by visibility",
            unit="reqps",
            description="http: everything of the request is seen. tunnel: the CONNECT and its "
            "answer are, what happens inside is not. socks: the handshake of SOCKS5 is. A change "
            "of the mix means that crawlers are configured differently.",
            expr="sum by (proxy_visibility) (proxy_vendor_visibility:istio_requests:rate5m"
            f"{OF_VENDOR})",
            legend="{{proxy_visibility}}",
        ),
    )


def _who(look: Look) -> tuple[Json, ...]:
    return row(
        "Which product, which target, for whom?",
        timeseries(
            title="Failed requests by product",
            unit="percentunit",
            description="Share of a product's requests that the vendor could not carry. One "
            "product alone points to its plan or quota, all of them to the vendor.",
            expr=f"proxy_vendor_pool:request_failures_per_requests:ratio_rate5m{OF_VENDOR}",
            legend=look.named("{{proxy_vendor}} {{proxy_pool}}"),
            colours=look.by_product(),
            links=[link(PRODUCT, vendor="${__field.labels.proxy_vendor}")],
        ),
        timeseries(
            title="Blocked by target group",
            unit="percentunit",
            description="Share of the requests to a group of sites that were banned, the ten "
            "highest. Above the line crawl these sites by another vendor, or slower.",
            expr="topk(10, proxy_vendor_target:requests_blocked_per_requests:ratio_rate5m"
            f"{OF_VENDOR})",
            legend=look.named("{{proxy_vendor}} {{proxy_target}}"),
            above=limits(look.alerts.banned_share),
            links=[link(PRODUCT, vendor="${__field.labels.proxy_vendor}")],
        ),
        timeseries(
            title="Failed requests by workload",
            unit="percentunit",
            description="The ten that suffer most. One alone points to its own settings, all of a "
            "vendor's to the vendor.",
            expr="topk(10, workload_proxy_vendor:request_failures_per_requests:ratio_rate5m"
            f"{OF_VENDOR})",
            legend=look.named("{{source_workload_namespace}}/{{source_workload}} {{proxy_vendor}}"),
            links=[
                link(
                    WORKLOAD,
                    vendor="${__field.labels.proxy_vendor}",
                    namespace="${__field.labels.source_workload_namespace}",
                    workload="${__field.labels.source_workload}",
                )
            ],
        ),
    )


def _trust(look: Look) -> tuple[Json, ...]:
    return row(
        "Can I trust these numbers?",
        look.vendor_lines(
            title="Opaque connections",
            unit="cps",
            description="Connections in which nothing can be read (TLS to the proxy, SOCKS5, "
            "other protocols), counted when they close. They have no outcome. Unexpected ones "
            "need the port in httpPorts, or inspect: passive.",
            expr=f"proxy_vendor:istio_tcp_connections_opened:rate5m{OF_VENDOR}",
            width=6,
        ),
        look.vendor_lines(
            title="Traffic in opaque connections",
            unit="Bps",
            description="Part of the traffic above, both ways, booked when the connection closes: "
            "a long one shows as a spike at its end. Of these bytes no target is known.",
            expr="proxy_vendor_visibility:proxy_bytes:rate5m"
            f'{OF_VENDOR[:-1]}, proxy_visibility="opaque"}}',
            width=6,
        ),
        look.vendor_lines(
            title="Bytes that the passive module did not count",
            absent="The module reads none of these vendors.",
            unit="percentunit",
            description="Share of a passive vendor's bytes that passed without a request or an "
            "outcome. Above a few percent the module did not load, or crashed: see the runbook "
            "of ProxyBytesUncounted.",
            # Below 0 are bytes of a request that was counted later than its connection.
            expr=f"clamp_min(proxy_vendor:uncounted_bytes_per_bytes:ratio_rate5m{OF_VENDOR}, 0)",
            width=6,
        ),
        timeseries(
            title="Connections to no vendor",
            unit="cps",
            description="New connections to strangers (outside), to each destination of the stack "
            "by its name, and to a gateway's name past its filter chains. A name here means that "
            "Istio and the filters do not fit: see the runbook of ProxyNameUnattributed.",
            expr=[
                (
                    f'{_CX}:rate5m{{cluster=~"$cluster", proxy_vendor="outside"}}'
                    f' or {_CX}:rate5m{{cluster=~"$cluster"}} and on (cluster, proxy_vendor)'
                    ' proxy_vendor:destination:info{cluster=~"$cluster"}',
                    look.named("{{proxy_vendor}}"),
                ),
                (
                    'proxy_host:envoy_cluster_upstream_cx:rate5m{cluster=~"$cluster"}',
                    look.named("{{proxy_host}}"),
                ),
            ],
            colours=look.by_vendor(),
            width=6,
        ),
    )
