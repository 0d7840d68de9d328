"""The Cost and budget board: what it costs, where the money goes, and whether it will last."""

from __future__ import annotations

from dashboards.frame import (
    COST,
    OF_VENDOR,
    STATES,
    TO_VENDOR,
    alert_level,
    board,
    vendor_cells,
    worded,
)
from dashboards.look import Look
from dashboards.panels import (
    Json,
    bargauge,
    column,
    limits,
    row,
    stat,
    state_timeline,
    table,
    timeseries,
)

HOUR = 3600
_PART = (
    '{job="money", cluster=~"$cluster", proxy_vendor=~"$vendor", team=~"$team", '
    'proxy_pool=~"$product", proxy_target=~"$target"}'
)
_MONEY = '{job="money", cluster=~"$cluster"}'
_BUDGETS = alert_level(
    "cluster, budget", 'alertname=~"ProxyBudget.*"', f"proxy_budget_limit{_MONEY}"
)


def cost(look: Look) -> Json:
    """Return the board as Grafana's dashboard JSON."""
    return board(
        COST,
        look,
        description="What traffic costs by the contracts of the stack file (billing), and what is "
        "left of budgets. Live figures are estimates; sums of days are of the ledger.",
        variables=["vendor", "product", "target", "team"],
        rows=[_now(look), _goes(look), _budgets(look), _bytes(look)],
    )


def _now(look: Look) -> tuple[Json, ...]:
    size: Json = {"unit": look.money_unit, "decimals": 2, "legend": "{{currency}}", "width": 4}
    return row(
        "What does it cost?",
        stat(
            title="Cost an hour, now",
            description="At the present traffic and the price of the next unit, commitments "
            "spread over the month. Compare with Yesterday before you worry.",
            expr=f"{HOUR} * sum by (currency) (proxy_vendor:cost:rate5m{OF_VENDOR})",
            **size,
        ),
        stat(
            title="Cost of failures an hour, now",
            description="What vendors charge for requests that they refused or failed. Ask for "
            "contracts that leave failures free, or use vendors that fail less.",
            expr=f"{HOUR} * sum by (currency) (proxy_vendor:cost_of_failures:rate5m{OF_VENDOR})",
            **size,
        ),
        stat(
            title="This month until now",
            description="By the ledger's hours and the contracts, as the invoice should say for "
            "the month so far. make reconcile compares it with the vendor's figures.",
            expr=f"sum by (currency) ({_of('proxy_cost_month_to_date')})",
            **size,
        ),
        stat(
            title="Yesterday",
            description="The last whole UTC day. Times the days of the month it is what the month "
            "will cost if nothing changes.",
            expr=f"sum by (currency) ({_of('proxy_cost_last_day')})",
            **size,
        ),
        stat(
            title="Budgets in trouble",
            unit="short",
            description="Budgets that are used to 85 % and more, or run out before the month "
            "ends. The table below names them.",
            expr=f"sum by (cluster) ({_BUDGETS} > bool 0)",
            above=limits(critical=1),
            width=4,
        ),
        stat(
            title="Age of the ledger's last hour",
            unit="s",
            description="An hour comes an hour after it ended. Above three hours the sums on this "
            "board are old: see the runbook of LedgerStale.",
            expr=f"time() - max by (cluster) (proxy_ledger_last_hour_timestamp_seconds{_MONEY})",
            above=limits(3 * HOUR),
            width=4,
        ),
    )


def _goes(look: Look) -> tuple[Json, ...]:
    named = look.money_named
    product = "{{proxy_vendor}} {{proxy_pool}}"
    return row(
        "Where does the money go?",
        look.vendor_lines(
            title="Cost by vendor, an hour",
            unit=look.money_unit,
            description="Live, commitments included. A rise without more requests: larger pages, "
            "or retries. Click a vendor for what it carries.",
            expr=f"{HOUR} * proxy_vendor:cost:rate5m{OF_VENDOR}",
            legend=named("{{proxy_vendor}}"),
            links=[TO_VENDOR],
        ),
        look.vendor_lines(
            title="Cost of failures by vendor, an hour",
            unit=look.money_unit,
            description="Part of the cost that bought nothing. One vendor alone: claim it back, "
            "or move crawlers.",
            expr=f"{HOUR} * proxy_vendor:cost_of_failures:rate5m{OF_VENDOR}",
            legend=named("{{proxy_vendor}}"),
            links=[TO_VENDOR],
        ),
        look.vendor_lines(
            title="Cost of 1,000 successes, by vendor",
            unit=look.money_unit,
            description="Everything that a vendor charges, divided by what succeeded: the price "
            "to compare vendors by. A tunnel is a success when it stands.",
            expr=f"1000 * proxy_vendor:cost_per_success:ratio_rate5m{OF_VENDOR}",
            legend=named("{{proxy_vendor}}"),
            links=[TO_VENDOR],
        ),
        timeseries(
            title="Cost by product, an hour",
            unit=look.money_unit,
            description="Live, commitments included. Residential traffic where a datacenter's "
            "would do is the usual waste: see which targets it goes to.",
            expr=f"topk(15, {HOUR} * proxy_vendor_pool:cost:rate5m"
            '{cluster=~"$cluster", proxy_vendor=~"$vendor", proxy_pool=~"$product"})',
            legend=named(product),
            colours=look.by_product(),
            links=[TO_VENDOR],
        ),
        timeseries(
            title="Cost by team, an hour",
            unit=look.money_unit,
            description="Of traffic alone, without commitments and rents. Whose crawlers to look "
            "at first.",
            expr=_live_by("team"),
            legend=named("{{team}}"),
        ),
        timeseries(
            title="Cost by target group, an hour",
            unit=look.money_unit,
            description="Of traffic alone. A group that costs more than its data is worth: crawl "
            "it less often, or by a cheaper product.",
            expr=worded(_live_by("proxy_target"), "proxy_target", "no group"),
            legend=named("{{proxy_target}}"),
            colours=look.by_target(),
        ),
        table(
            title="This month, by vendor, product and team",
            description="By the ledger and the contracts. Sort by a click on a heading; make "
            "report writes the same for a whole month.",
            labels={
                "proxy_vendor": "Vendor",
                "proxy_pool": "Product",
                "team": "Team",
                "currency": "Currency",
            },
            values=[
                column(
                    "This month", look.money_unit, _sums("proxy_cost_month_to_date"), decimals=2
                ),
                column("Yesterday", look.money_unit, _sums("proxy_cost_last_day"), decimals=2),
            ],
            sort_by=["This month"],
            cells=vendor_cells(look),
            width=16,
            height=10,
        ),
        bargauge(
            title="Price of the next GB",
            absent="None of these vendors bills bytes.",
            unit=look.money_unit,
            description="By the contract's present tier, of delivered bytes (10^9). A tier that is "
            "reached lowers it; compare before you move traffic (make what-if).",
            expr=f"1e9 * max by (proxy_vendor, proxy_pool, currency) (proxy_unit_price{_priced()})",
            legend=named(product),
            colours=look.by_product(),
            width=8,
            height=10,
        ),
    )


def _budgets(look: Look) -> tuple[Json, ...]:
    used, limit = (
        f"max by (budget, unit) (proxy_budget_{each}{_MONEY})" for each in ("used", "limit")
    )
    forecast = (
        'max by (budget, unit) (proxy_budget_forecast{job="money", cluster=~"$cluster", '
        'bound="{bound}"})'
    )
    return row(
        "Will the budgets last?",
        bargauge(
            title="Budget used this month",
            unit="percentunit",
            description="Share of each budget. Orange from 85 %, red once it is used up: lower the "
            "crawlers' pace, move to a cheaper product, or raise the budget.",
            expr=f"{used} / {limit}",
            legend="{{budget}}",
            maximum=1.2,
            above=limits(0.85, 1),
        ),
        table(
            title="Budgets: used, limit and forecast",
            description="The forecast of the month's end is by the last weeks, with its low and "
            "high bounds. A budget that runs out has a day: act before it.",
            labels={"budget": "Budget", "unit": "Unit"},
            values=[
                column("Used", "none", used, decimals=0),
                column("Limit", "none", limit, decimals=0),
                *(
                    column(heading, "none", forecast.replace("{bound}", bound), decimals=0)
                    for heading, bound in (
                        ("Low", "low"),
                        ("Expected", "expected"),
                        ("High", "high"),
                    )
                ),
            ],
            sort_by=["Used"],
            width=8,
        ),
        state_timeline(
            title="Alerts about budgets",
            description="Warning: 85 % is used, or it will run out. Critical: it is used up. "
            "Info, from half on, is not drawn.",
            expr=_BUDGETS,
            legend=look.named("{{budget}}"),
            states=STATES,
            width=8,
        ),
    )


def _bytes(look: Look) -> tuple[Json, ...]:
    return row(
        "What is billed?",
        timeseries(
            title="Traffic by what came of it",
            unit="Bps",
            description="Bytes of requests that were delivered, refused by the vendor, or failed, "
            "and those of which nothing can be read. Many vendors bill all of it.",
            expr=worded(
                "sum by (proxy_result) (team_proxy_vendor_pool_result_target:proxy_bytes:rate5m"
                '{cluster=~"$cluster", proxy_vendor=~"$vendor", team=~"$team", '
                'proxy_pool=~"$product", proxy_target=~"$target"})',
                "proxy_result",
                "not readable",
            ),
            legend="{{proxy_result}}",
            stacked=True,
        ),
        timeseries(
            title="Traffic by team",
            unit="Bps",
            description="The 15 largest pairs of team and vendor. Tunnels count when they close.",
            expr="topk(15, team_proxy_vendor:proxy_bytes:rate5m"
            '{cluster=~"$cluster", proxy_vendor=~"$vendor", team=~"$team"})',
            legend=look.named("{{team}} {{proxy_vendor}}"),
        ),
        timeseries(
            title="Billed and metered, of the last day compared",
            absent="No vendor is asked for its figures: moneyExporter.usageSecrets.",
            unit="decbytes",
            description="What the vendor says it delivered, and what the mesh metered. Half as "
            "much again: somebody else uses the credentials; see the runbook of "
            "ProxyTrafficBilledNotMetered.",
            expr=[
                (f"max by (proxy_vendor) (proxy_{each}_bytes_last_day{_of_vendor()})", legend)
                for each, legend in (
                    ("billed", "{{proxy_vendor}} billed"),
                    ("metered", "{{proxy_vendor}} metered"),
                )
            ],
            colours=look.by_vendor(),
        ),
    )


def _live_by(label: str) -> str:
    """Return the query of what traffic costs an hour now, of what is chosen alone."""
    return (
        f"topk(15, {HOUR} * sum by (cluster, {label}, currency) ("
        'team_proxy_vendor_pool_target:cost:rate5m{cluster=~"$cluster", proxy_vendor=~"$vendor", '
        'team=~"$team", proxy_pool=~"$product", proxy_target=~"$target"}))'
    )


def _of(metric: str) -> str:
    """Return the query of a metric, once for each part: an exporter may have had two pods."""
    labels = "cluster, proxy_vendor, proxy_pool, team, proxy_target, currency"
    return f"max by ({labels}) ({metric}{_PART})"


def _sums(metric: str) -> str:
    return f"sum by (proxy_vendor, proxy_pool, team, currency) ({_of(metric)})"


def _of_vendor() -> str:
    return '{job="money", cluster=~"$cluster", proxy_vendor=~"$vendor"}'


def _priced() -> str:
    return (
        '{job="money", cluster=~"$cluster", proxy_vendor=~"$vendor", unit="byte", '
        'proxy_result="delivered"}'
    )
