"""The board on which the mesh is checked: what the load generator counted, against the mesh."""

from __future__ import annotations

from dashboards.frame import IN_CLUSTER, LOAD_GENERATOR, OF_VENDOR, board
from dashboards.look import BY_OUTCOME, Look
from dashboards.panels import Json, coloured_cells, column, limits, row, stat, table, timeseries

_MESH_OF = '{cluster=~"$cluster", proxy_vendor=~"$vendor", source_workload=~"load-generator.*"}'
_SENT = f"proxy_vendor:crawler_requests:rate5m{OF_VENDOR}"
_COUNTED = f"workload_proxy_vendor:istio_requests:rate5m{_MESH_OF}"


def _truth(over: str = "{}") -> str:
    return f"sum by (cluster, proxy_vendor) ({over.format(_SENT)})"


def _mesh(over: str = "{}") -> str:
    return f"(sum by (cluster, proxy_vendor) ({over.format(_COUNTED)}) or 0 * {_truth(over)})"


def _error(over: str = "{}") -> str:
    # Below 0.1 requests/s a single one is a large share.
    return f"abs({_mesh(over)} - {_truth(over)}) / ({_truth(over)} > 0.1)"


# Of 5 minutes, the seconds between the scrapes of the two are a percent.
_HALF_HOUR = "avg_over_time({}[30m])"
_LIMITS = limits(0.01, 0.05)  # ProxyCountsDisagree fires above the second


def load_generator(look: Look) -> Json:
    """Return the board as Grafana's dashboard JSON."""
    return board(
        LOAD_GENERATOR,
        look,
        description="Synthetic traffic (loadGenerator), counted by its sender and by the mesh. "
        "If they agree for the generator, believe the other boards.",
        variables=["vendor"],
        rows=[_agree(look), _counts(look), _generator(look)],
    )


def _agree(look: Look) -> tuple[Json, ...]:
    return row(
        "Do the mesh and the generator agree?",
        stat(
            title="Largest difference, half an hour",
            unit="percentunit",
            description="Of any vendor's requests. Below 1 % is the seconds between two scrapes. "
            "Above 5 % for long ProxyCountsDisagree fires: a pod has no sidecar or no scrape.",
            expr=f"max by (cluster) ({_error(_HALF_HOUR)})",
            decimals=2,
            above=_LIMITS,
        ),
        stat(
            title="Requests that the generator sent",
            unit="reqps",
            description="All that ended, as the generator counts them. Zero: it does not run, or "
            "its day's budget (maxGBPerDay) is used up.",
            expr=f"sum by (cluster) ({_truth()})",
        ),
        stat(
            title="Requests that the mesh counted",
            unit="reqps",
            description="Of the generator's pods alone. Less than the generator sent: sidecars are "
            "missing or not scraped; see Pipeline health.",
            expr=f"sum by (cluster) ({_mesh()})",
        ),
        stat(
            title="Unexpected answers",
            unit="reqps",
            description="Answers that were not what the request was to get, by the generator's own "
            "judgement. Look at the generator's log for the reasons.",
            expr=f"sum by (cluster) (proxy_vendor:crawler_unexpected:rate5m{OF_VENDOR})",
            above=limits(warning=0.000001),
        ),
        table(
            title="Truth and mesh, by vendor",
            description="Requests a second that each counted, over half an hour. A difference for "
            "one vendor alone is a fault of its attribution: its addresses, ports or names.",
            labels=look.headings(proxy_vendor="Vendor"),
            values=[
                column("Difference", "percentunit", _error(_HALF_HOUR), decimals=2, above=_LIMITS),
                column("Generator", "reqps", _truth(_HALF_HOUR), decimals=2),
                column("Mesh", "reqps", _mesh(_HALF_HOUR), decimals=2),
            ],
            sort_by=["Difference"],
            cells={"Vendor": coloured_cells(look.vendor_cells())},
            width=12,
            height=9,
        ),
        look.vendor_lines(
            title="Difference, by vendor",
            unit="percentunit",
            description="Over half an hour, as beside: of less, the seconds between two scrapes "
            "would be most of it. A level is missing counts; a fall is a generator's start.",
            expr=_error(_HALF_HOUR),
            above=_LIMITS,
            width=12,
            height=9,
        ),
    )


def _counts(look: Look) -> tuple[Json, ...]:
    mesh_outcomes = f"workload_proxy_vendor_outcome:istio_requests:rate5m{_MESH_OF}"
    return row(
        "What did each count?",
        look.vendor_lines(
            title="Requests that the generator sent, by vendor",
            unit="reqps",
            description="The generator's own books. It sends to each endpoint of "
            "loadGenerator.endpoints: a missing line is an endpoint that it does not reach.",
            expr=_truth(),
            width=6,
        ),
        look.vendor_lines(
            title="Requests that the mesh counted, by vendor",
            unit="reqps",
            description="What the sidecars of the generator's pods counted. Should look like the "
            "panel beside; a vendor at 0 here is not attributed.",
            expr=_mesh(),
            width=6,
        ),
        timeseries(
            title="Outcomes that the generator saw",
            unit="reqps",
            description="By the generator's books, over the vendors chosen: what a sidecar should "
            "name them.",
            expr="sum by (proxy_outcome) (proxy_vendor_outcome:crawler_requests:rate5m"
            f"{OF_VENDOR})",
            **BY_OUTCOME,
            width=6,
        ),
        timeseries(
            title="Outcomes that the mesh named",
            unit="reqps",
            description="By the sidecars of the generator's pods. An outcome under another name "
            "than beside: a vendor's outcomes do not fit its answers; run make audit.",
            expr=f"sum by (proxy_outcome) ({mesh_outcomes})",
            **BY_OUTCOME,
            width=6,
        ),
    )


def _generator(look: Look) -> tuple[Json, ...]:
    return row(
        "Is the generator well?",
        timeseries(
            title="Requests under way",
            unit="short",
            description="Begun and not ended, over all pods. If it grows without end, vendors "
            "answer slower than the generator asks: lower loadGenerator.requestsPerSecond.",
            expr=f"cluster:crawler_in_flight:sum{IN_CLUSTER}",
            legend=look.named("under way"),
            width=12,
        ),
        look.vendor_lines(
            title="Unexpected answers, by vendor",
            unit="reqps",
            description="Answers that were not what the request was to get. One vendor alone: its "
            "endpoint or login is wrong.",
            expr=f"proxy_vendor:crawler_unexpected:rate5m{OF_VENDOR}",
            width=12,
        ),
    )
