"""The Error budget board: which vendor will miss its objective, and on what it was spent."""

from __future__ import annotations

from dashboards.frame import ERROR_BUDGET, OF_VENDOR, TO_VENDOR, board, or_none, vendor_cells
from dashboards.look import BY_OUTCOME, Look
from dashboards.panels import Json, bargauge, column, limits, row, table, timeseries
from settings.alerts import FAST_BURN, SLOW_BURN

_BURN = "proxy_vendor:request_failures_per_budget:burnrate"


def error_budget(look: Look) -> Json:
    """Return the board as Grafana's dashboard JSON."""
    return board(
        ERROR_BUDGET,
        look,
        description="A vendor's objective (alerts.objective) is of a week: how much of what it "
        "may fail is used, and how fast.",
        variables=["vendor"],
        rows=[_used(look), _burning(look)],
    )


def _used(look: Look) -> tuple[Json, ...]:
    return row(
        "Who will miss the objective?",
        bargauge(
            title="Error budget used in seven days",
            unit="percentunit",
            description="100 %: in the last seven days the vendor failed all that its objective "
            "allows. Above, show the vendor these figures, and move crawlers.",
            expr=f"{_BURN}7d{OF_VENDOR}",
            legend=look.named("{{proxy_vendor}}"),
            maximum=1.5,
            above=limits(0.75, 1),
            links=[TO_VENDOR],
            width=10,
            height=11,
        ),
        table(
            title="Objectives and burn rates",
            description="A burn rate of 1 uses up exactly the budget. One hour above "
            f"{FAST_BURN} is critical, six hours above {SLOW_BURN} a warning; both end once the "
            "short window is below.",
            labels=look.headings(proxy_vendor="Vendor"),
            values=[
                column("Used, 7 d", "percentunit", _rate("7d"), decimals=0, above=limits(0.75, 1)),
                column("Objective", "percentunit", _by_vendor("proxy_vendor:slo:ratio")),
                column(
                    "Carried",
                    "percentunit",
                    _by_vendor("proxy_vendor:request_successes_per_requests:ratio_rate5m"),
                    decimals=1,
                ),
                column("5 min", "short", _rate("5m"), decimals=2, above=limits(FAST_BURN)),
                column("1 h", "short", _rate("1h"), decimals=2, above=limits(critical=FAST_BURN)),
                column("30 min", "short", _rate("30m"), decimals=2, above=limits(SLOW_BURN)),
                column("6 h", "short", _rate("6h"), decimals=2, above=limits(SLOW_BURN)),
            ],
            sort_by=["Used, 7 d"],
            cells=vendor_cells(look),
            width=14,
            height=11,
        ),
    )


def _burning(look: Look) -> tuple[Json, ...]:
    return row(
        "Since when, and on what?",
        look.vendor_lines(
            links=[TO_VENDOR],
            title="Requests carried",
            unit="percentunit",
            description="Share of all requests that the vendor carried, over 5 minutes. Its "
            "objective is of a week's: a dip is no miss yet, look at the burn rates.",
            expr=f"proxy_vendor:request_successes_per_requests:ratio_rate5m{OF_VENDOR}",
            maximum=1,
        ),
        look.vendor_lines(
            links=[TO_VENDOR],
            title="Burn rate, one hour",
            unit="short",
            description="How many times as fast as the objective allows the vendor used what it "
            f"may fail. Above {FAST_BURN} a week's budget lasts a day or two: act now.",
            expr=f"{_BURN}1h{OF_VENDOR}",
            above=limits(critical=FAST_BURN),
        ),
        look.vendor_lines(
            links=[TO_VENDOR],
            title="Burn rate, six hours",
            unit="short",
            description=f"The same over six hours. Above {SLOW_BURN} the vendor will miss its "
            "objective if it goes on like this: talk to it this week.",
            expr=f"{_BURN}6h{OF_VENDOR}",
            above=limits(SLOW_BURN),
        ),
        look.vendor_lines(
            links=[TO_VENDOR],
            title="Error budget used, seven days",
            unit="percentunit",
            description="How the used share moved. It falls when a bad day is seven days past, "
            "so a fall is no improvement by itself.",
            expr=f"{_BURN}7d{OF_VENDOR}",
            above=limits(0.75, 1),
            width=12,
        ),
        timeseries(
            title="What the budget is spent on, by outcome",
            unit="reqps",
            description="Failures over the vendors chosen. Begin with the largest: each has its "
            "own remedy, and most have an alert with a runbook.",
            expr=or_none(
                f"sum by (proxy_outcome) (proxy_vendor_outcome:request_failures:rate5m{OF_VENDOR})",
                "proxy_outcome",
                f"proxy_vendor:istio_requests:rate5m{OF_VENDOR}",
            ),
            **BY_OUTCOME,
            stacked=True,
            width=12,
        ),
    )


def _by_vendor(record: str) -> str:
    return f"max by (cluster, proxy_vendor) ({record}{OF_VENDOR})"


def _rate(window: str) -> str:
    return _by_vendor(_BURN + window)
