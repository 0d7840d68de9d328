"""The Team and workload board: who uses which vendor, and who suffers."""

from __future__ import annotations

from dashboards.frame import TO_VENDOR, WORKLOAD, board, or_none, vendor_cells
from dashboards.look import BY_OUTCOME, Look
from dashboards.panels import Json, column, limits, row, table, timeseries

_WORKLOAD = (
    '{cluster=~"$cluster", proxy_vendor=~"$vendor", source_workload_namespace=~"$namespace", '
    'source_workload=~"$workload"}'
)
_OUTCOMES = f'{_WORKLOAD[:-1]}, proxy_outcome!="success"}}'
_NAME = "{{source_workload_namespace}}/{{source_workload}}"
_LABELS = "source_workload_namespace, source_workload"
_RECORD = "workload_proxy_vendor"


def workload(look: Look) -> Json:
    """Return the board as Grafana's dashboard JSON."""
    return board(
        WORKLOAD,
        look,
        description="Which teams and workloads use which vendor, and whom failures hit.",
        variables=["vendor", "team", "namespace", "workload"],
        rows=[_who(look), _suffers(look)],
    )


def _who(look: Look) -> tuple[Json, ...]:
    return row(
        "Who uses it?",
        timeseries(
            title="Requests by workload",
            unit="reqps",
            description="The ten busiest at each moment, over the vendors chosen. A workload that "
            "disappears has stopped, or its pods have no sidecar. (Job) and (Pod) are all that "
            "come and go under names of their own: crawlers.workloadLabel tells them apart.",
            expr=f"topk(10, sum by ({_LABELS}) ({_RECORD}:istio_requests:rate5m{_WORKLOAD}))",
            legend=_NAME,
            width=12,
        ),
        look.vendor_lines(
            title="Requests of these workloads by vendor",
            unit="reqps",
            description="Which vendors the workloads chosen use. A workload of one vendor alone "
            "stops with it: give it a second.",
            expr=f"sum by (cluster, proxy_vendor) ({_RECORD}:istio_requests:rate5m{_WORKLOAD})",
            links=[TO_VENDOR],
            width=12,
        ),
        timeseries(
            title="Traffic by workload",
            unit="Bps",
            description="The ten largest pairs of workload and vendor, bytes both ways; a tunnel's "
            "come when it closes. More bytes without more requests: larger pages, or files that "
            "nobody needs.",
            expr=f"topk(10, {_RECORD}:proxy_bytes:rate5m{_WORKLOAD})",
            legend=look.named(f"{_NAME} {{{{proxy_vendor}}}}"),
            width=12,
        ),
        timeseries(
            title="Traffic by team",
            unit="Bps",
            description="A pod's team is its label of crawlers.teamLabel, or its namespace. The "
            "team is whom to ask about a rise; other: the label is missing or unknown.",
            expr="sum by (team) (team_proxy_vendor:proxy_bytes:rate5m"
            '{cluster=~"$cluster", proxy_vendor=~"$vendor", team=~"$team"})',
            legend="{{team}}",
            stacked=True,
            width=12,
        ),
        table(
            title="Workloads, the busiest first",
            description="The 50 busiest pairs of workload and vendor now, over 5 minutes. The "
            "columns sort by a click: sort by Failed to see who suffers most.",
            labels=look.headings(
                source_workload_namespace="Namespace",
                source_workload="Workload",
                proxy_vendor="Vendor",
            ),
            values=[
                column("Requests", "reqps", _most("istio_requests:rate5m")),
                column(
                    "Failed",
                    "percentunit",
                    _most("request_failures_per_requests:ratio_rate5m"),
                    decimals=1,
                    above=limits(1 - look.alerts.objective, look.alerts.failure_share),
                ),
                column("Traffic", "Bps", _most("proxy_bytes:rate5m")),
            ],
            sort_by=["Requests"],
            cells=vendor_cells(look),
            width=24,
            height=10,
        ),
    )


def _suffers(look: Look) -> tuple[Json, ...]:
    return row(
        "Who suffers, and why?",
        timeseries(
            title="Failed requests by workload",
            unit="percentunit",
            description="The ten pairs of workload and vendor that suffer most. One workload "
            "alone points to its own settings, all of a vendor's to the vendor.",
            expr=f"topk(10, {_RECORD}:request_failures_per_requests:ratio_rate5m{_WORKLOAD})",
            legend=look.named(f"{_NAME} {{{{proxy_vendor}}}}"),
            above=limits(critical=look.alerts.failure_share),
        ),
        timeseries(
            title="Requests of these workloads without success, by outcome",
            unit="reqps",
            description="Why, over the workloads chosen. auth_failed of one workload: it has an "
            "old password. rejected: it sends requests that Envoy refuses.",
            expr=or_none(
                f"sum by (proxy_outcome) ({_RECORD}_outcome:istio_requests:rate5m{_OUTCOMES})",
                "proxy_outcome",
                f"{_RECORD}:istio_requests:rate5m{_WORKLOAD}",
            ),
            **BY_OUTCOME,
        ),
        timeseries(
            title="Connections that sidecars refused",
            unit="cps",
            description="To addresses that are no vendor's and no known destination's, where "
            "network.egress forbids them. The workload lost its proxy setting, or the stack file "
            "lacks an address.",
            expr=f"sum by ({_LABELS}) ({_RECORD}:connections_refused:rate5m{_of_any_vendor()})"
            f" or 0 * sum by ({_LABELS}) ({_RECORD}:istio_requests:rate5m{_WORKLOAD})",
            legend=_NAME,
        ),
    )


def _of_any_vendor() -> str:
    return _WORKLOAD.replace('proxy_vendor=~"$vendor", ', "")


def _most(record: str) -> str:
    """Return a column's query for the 50 busiest pairs, without the metric's name."""
    busiest = f"topk(50, {_RECORD}:istio_requests:rate5m{_WORKLOAD})"
    labels = f"cluster, {_LABELS}, proxy_vendor"
    return f"max by ({labels}) ({_RECORD}:{record}{_WORKLOAD} and on ({labels}) {busiest})"
