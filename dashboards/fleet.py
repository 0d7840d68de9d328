"""The Fleet board: every vendor, and every workload that uses one, on a page.

Rows are an operator's questions, in the order they are asked. Panels read recorded series
only (rules/): a board over a thousand sidecars must not sum them at each refresh. Each series has
the label `cluster`, and each query selects the clusters chosen.
"""

from __future__ import annotations

from typing import Any

from dashboards.panels import dashboard, label_variable, row, stat, table, timeseries
from dashboards.queries import substitute
from settings.alerts import SLOW_BURN

_CLUSTER = '{cluster=~"$cluster"}'
_VENDOR = '{cluster=~"$cluster", proxy_vendor=~"$vendor"}'
_OUTSIDE = '{cluster=~"$cluster", proxy_vendor="outside"}'
_PRODUCT = "{{cluster}} {{proxy_vendor}} {{proxy_pool}}"
_SIDECARS = '{cluster=~"$cluster", job="sidecars"}'
_CX = "proxy_vendor:envoy_cluster_upstream_cx"
CONNECTIONS_METRIC = f"{_CX}:rate5m"

REQUESTS = f"proxy_vendor:istio_requests:rate5m{_VENDOR}"
FAILURE_RATIO = f"proxy_vendor:request_failures_per_requests:ratio_rate5m{_VENDOR}"
SETUP_P50 = f"proxy_vendor:istio_proxy_setup_milliseconds:p50{_VENDOR}"
SETUP_P95 = f"proxy_vendor:istio_proxy_setup_milliseconds:p95{_VENDOR}"
BYTES = f"{_CX}_tx_bytes:rate5m{_VENDOR} + {_CX}_rx_bytes:rate5m{_VENDOR}"
CONNECTIONS = f"{_CX}:rate5m{_VENDOR}"
OPEN_CONNECTIONS = f"{_CX}_active:sum{_VENDOR}"

TABLE_QUERIES: dict[str, str] = {
    key: substitute(expr)
    for key, expr in {
        "requests_per_second": REQUESTS,
        "failure_ratio": FAILURE_RATIO,
        "setup_p95_milliseconds": SETUP_P95,
        "bytes_per_second": BYTES,
        "open_connections": OPEN_CONNECTIONS,
        "connections_per_second": CONNECTIONS,
    }.items()
}
"""The board's main numbers for all vendors, ready to ask; each result has `proxy_vendor`."""


def fleet() -> dict[str, Any]:
    """Return the board as Grafana's dashboard JSON."""
    return dashboard(
        uid="fleet",
        title="Fleet",
        description="What crawlers send through proxy vendors, and how the vendors serve it.",
        variables=[
            label_variable(
                name="cluster", label="Cluster", metric=CONNECTIONS_METRIC, values="cluster"
            ),
            label_variable(
                name="vendor",
                label="Vendor",
                metric=CONNECTIONS_METRIC,  # has opaque-only vendors too, and `outside`
                values="proxy_vendor",
            ),
        ],
        rows=[
            row(
                "Is it working?",
                timeseries(
                    title="Requests",
                    unit="reqps",
                    description="Plain proxied requests and CONNECTs, and SOCKS5 of passive "
                    "vendors. A tunnel is counted when it closes, a passive vendor's once it "
                    "stands. Connections in which nothing can be read are further down.",
                    expr=REQUESTS,
                ),
                timeseries(
                    title="Failed requests",
                    unit="percentunit",
                    description="Share of all requests that the vendor could not carry, before the "
                    "crawler retries. Answers of the target, handshakes for a password and what "
                    "the crawler cancelled are no failures.",
                    expr=FAILURE_RATIO,
                    maximum=1,
                ),
                timeseries(
                    title="Requests without success, by outcome",
                    unit="reqps",
                    description="Why, over the vendors chosen. auth_challenge, bad_answer, "
                    "client_cancelled, policy, rejected and target_error are shown but not held "
                    "against the vendor. policy: it carries no such request for anybody. "
                    "rejected: Envoy refused the crawler's request itself, and nothing reached "
                    "the vendor.",
                    expr="sum by (proxy_outcome) (proxy_vendor_outcome:istio_requests:rate5m"
                    '{cluster=~"$cluster", proxy_vendor=~"$vendor", proxy_outcome!="success"})',
                    legend="{{proxy_outcome}}",
                ),
                timeseries(
                    title="Set-up time, median",
                    unit="ms",
                    description="From a request's first byte to the answer's headers: for a tunnel "
                    "what the vendor needs to open it, for a plain request the target's time too. "
                    "Answered requests only.",
                    expr=SETUP_P50,
                    width=12,
                ),
                timeseries(
                    title="Set-up time, 95th percentile",
                    unit="ms",
                    description="One request in twenty waits longer. A line at the highest "
                    "bucket's bound means that or more. Answered requests only: a time-out is a "
                    "failure.",
                    expr=SETUP_P95,
                    width=12,
                ),
                timeseries(
                    title="Failed connections to vendors",
                    unit="cps",
                    description="TCP connections that never came to be, whatever they were to "
                    "carry: refused, unreachable, or timed out.",
                    expr=f"{_CX}_connect_fail:rate5m{_VENDOR}",
                    width=12,
                ),
                timeseries(
                    title="Connections to vendors timed out",
                    unit="cps",
                    description="Those of the failed connections that nobody answered: a dead or "
                    "overloaded address, or a firewall between.",
                    expr=f"{_CX}_connect_timeout:rate5m{_VENDOR}",
                    width=12,
                ),
            ),
            row(
                "Are vendors within their objectives?",
                timeseries(
                    title="Requests carried",
                    unit="percentunit",
                    description="Share of all requests that the vendor carried; its objective "
                    "(alerts.objective) is of a week's. The rest is Failed requests above.",
                    expr=f"proxy_vendor:request_successes_per_requests:ratio_rate5m{_VENDOR}",
                    maximum=1,
                ),
                timeseries(
                    title="Error budget use, six hours",
                    unit="short",
                    description="How many times as fast as the objective allows the vendor used "
                    f"what it may fail. Above {SLOW_BURN} it will miss its objective: a warning.",
                    expr=f"proxy_vendor:request_failures_per_budget:burnrate6h{_VENDOR}",
                ),
                timeseries(
                    title="Failed requests by workload",
                    unit="percentunit",
                    description="The ten that suffer most. One alone points to its own settings, "
                    "all of a vendor's to the vendor.",
                    expr="topk(10, workload_proxy_vendor:request_failures_per_requests:ratio_rate5m"
                    f"{_VENDOR})",
                    legend="{{cluster}} {{source_workload_namespace}}/{{source_workload}} "
                    "{{proxy_vendor}}",
                    maximum=1,
                ),
            ),
            row(
                "All vendors together",
                stat(
                    title="All requests",
                    unit="reqps",
                    description="Plain requests and CONNECTs of all vendors, whichever are chosen.",
                    expr=f"cluster:istio_requests:rate5m{_CLUSTER}",
                ),
                stat(
                    title="All failed requests",
                    unit="percentunit",
                    description="Share of them that the vendors could not carry.",
                    expr=f"cluster:request_failures_per_requests:ratio_rate5m{_CLUSTER}",
                ),
                stat(
                    title="All traffic",
                    unit="Bps",
                    description="Bytes on the wire to and from all vendors, without what is "
                    "outside their ranges.",
                    expr=f"cluster:wire_bytes:rate5m{_CLUSTER}",
                ),
                stat(
                    title="All open connections",
                    unit="short",
                    description="TCP connections to all vendors now, idle ones included.",
                    expr=f"cluster:envoy_cluster_upstream_cx_active:sum{_CLUSTER}",
                ),
                timeseries(
                    title="All failed connections",
                    unit="cps",
                    description="TCP connections to any vendor that never came to be.",
                    expr=f"cluster:envoy_cluster_upstream_cx_connect_fail:rate5m{_CLUSTER}",
                    legend="{{cluster}}",
                    width=24,
                ),
            ),
            row(
                "What does it carry?",
                timeseries(
                    title="Traffic, both ways",
                    unit="Bps",
                    description="Bytes on the wire between pods and vendor (kB = 1,000 bytes), "
                    "live, tunnels included. What a vendor bills of them: docs/money.md.",
                    expr=BYTES,
                ),
                timeseries(
                    title="Sent to vendors",
                    unit="Bps",
                    description="Bytes on the wire from pods to vendor, live, tunnels included.",
                    expr=f"{_CX}_tx_bytes:rate5m{_VENDOR}",
                ),
                timeseries(
                    title="Received from vendors",
                    unit="Bps",
                    description="Bytes on the wire from vendor to pods, live, tunnels included.",
                    expr=f"{_CX}_rx_bytes:rate5m{_VENDOR}",
                ),
                timeseries(
                    title="New connections",
                    unit="cps",
                    description="TCP connections begun towards the vendor, failed ones included.",
                    expr=CONNECTIONS,
                ),
                timeseries(
                    title="Open connections",
                    unit="short",
                    description="TCP connections to the vendor now, idle ones included: a crawler "
                    "that left keeps one for the vendor's idleTimeout. Not the number of tunnels.",
                    expr=OPEN_CONNECTIONS,
                ),
                timeseries(
                    title="Requests by visibility",
                    unit="reqps",
                    description="http: everything of the request is seen. tunnel: the CONNECT and "
                    "its answer are, what happens inside is not. socks: the handshake of SOCKS5 "
                    "is, with passive vendors only.",
                    expr="sum by (proxy_visibility) (proxy_vendor_visibility:istio_requests:rate5m"
                    f"{_VENDOR})",
                    legend="{{proxy_visibility}}",
                ),
                timeseries(
                    title="Opaque connections",
                    unit="cps",
                    description="Connections in which nothing can be read (TLS to the proxy, "
                    "SOCKS5, other protocols). They have no outcome; counted when they close.",
                    expr=f"proxy_vendor:istio_tcp_connections_opened:rate5m{_VENDOR}",
                    width=12,
                ),
                timeseries(
                    title="Traffic in opaque connections",
                    unit="Bps",
                    description="Part of the traffic above that went through opaque connections, "
                    "both ways. Booked when they close, so a long one shows as a spike at its end.",
                    expr="proxy_vendor_visibility:proxy_bytes:rate5m"
                    f'{_VENDOR[:-1]}, proxy_visibility="opaque"}}',
                    width=12,
                ),
            ),
            row(
                "Who uses it?",
                table(
                    title="Top workloads",
                    unit="reqps",
                    description="The 20 busiest pairs of workload and vendor, by requests.",
                    expr=f"topk(20, workload_proxy_vendor:istio_requests:rate5m{_VENDOR})",
                    columns={
                        "cluster": "Cluster",
                        "source_workload_namespace": "Namespace",
                        "source_workload": "Workload",
                        "proxy_vendor": "Vendor",
                    },
                    value="Requests",
                ),
                timeseries(
                    title="Requests by workload",
                    unit="reqps",
                    description="The ten busiest at each moment, over the vendors chosen.",
                    expr="topk(10, sum by (source_workload_namespace, source_workload)"
                    f" (workload_proxy_vendor:istio_requests:rate5m{_VENDOR}))",
                    legend="{{source_workload_namespace}}/{{source_workload}}",
                    width=12,
                ),
            ),
            row(
                "Which of a vendor's products?",
                timeseries(
                    title="Requests by product",
                    unit="reqps",
                    description="By the vendor's products (proxy users) and pools (ranges, names). "
                    "A line without one: no pattern of the vendor's products fits the user.",
                    expr=f"proxy_vendor_pool:istio_requests:rate5m{_VENDOR}",
                    legend=_PRODUCT,
                    width=12,
                ),
                timeseries(
                    title="Failed requests by product",
                    unit="percentunit",
                    description="Share of a product's requests that the vendor could not carry. "
                    "One alone points to its plan or quota, all of them to the vendor.",
                    expr=f"proxy_vendor_pool:request_failures_per_requests:ratio_rate5m{_VENDOR}",
                    legend=_PRODUCT,
                    maximum=1,
                    width=12,
                ),
            ),
            row(
                "Can I trust these numbers?",
                stat(
                    title="Traffic outside all ranges",
                    unit="percentunit",
                    description="Share of the pods' passed-through bytes that went to no vendor's "
                    "range and no known destination. Direct crawling belongs there; a vendor's new "
                    "address does not.",
                    expr=f"cluster:outside_bytes_per_bytes:ratio_rate5m{_CLUSTER}",
                ),
                stat(
                    title="Lua errors",
                    unit="ops",
                    description="Requests on which the script failed: the vendor is right, outcome "
                    "and set-up time are not. Anything but 0 is a defect.",
                    expr=f"cluster:envoy_http_lua_errors:rate5m{_CLUSTER}",
                    red_above=0.000001,
                ),
                stat(
                    title="Sidecars not scraped",
                    unit="short",
                    description="Crawler pods whose sidecar did not answer the last scrape; what "
                    "they carry is missing above. Starting and ending pods pass through here.",
                    expr=f"job:up:count{_SIDECARS} - job:up:sum{_SIDECARS}",
                    red_above=1,
                ),
                stat(
                    title="Samples taken in",
                    unit="cps",
                    description="Samples a second that the busiest Prometheus replica stores. "
                    "Above the stack's threshold HighMetricIngestionRate fires.",
                    expr=f"cluster:prometheus_samples_appended:rate5m{_CLUSTER}",
                ),
                timeseries(
                    title="Connections outside all ranges",
                    unit="cps",
                    description="New connections to addresses that no vendor's range covers, "
                    "whichever vendors are chosen: to strangers (outside), and to each destination "
                    "of the stack by its name.",
                    expr=f"{_CX}:rate5m{_OUTSIDE} or {_CX}:rate5m{_CLUSTER}"
                    f" and on (cluster, proxy_vendor) proxy_vendor:destination:info{_CLUSTER}",
                    width=8,
                ),
                timeseries(
                    title="Bytes that the passive module did not count",
                    unit="percentunit",
                    description="Share of the vendor's bytes that passed without a request or an "
                    "outcome: the module did not load, or crashed. Only of vendors that it reads.",
                    expr=f"proxy_vendor:uncounted_bytes_per_bytes:ratio_rate5m{_VENDOR}",
                    width=8,
                ),
                timeseries(
                    title="Sidecars scraped",
                    unit="short",
                    description="Crawler pods whose numbers are in the panels above.",
                    expr=f"job:up:sum{_SIDECARS}",
                    legend="{{cluster}}",
                    width=8,
                ),
            ),
        ],
    )
