"""The board of money, on figures that the exporter could export: each panel's number is right."""

from __future__ import annotations

from pathlib import Path

from dashboards.boards import queries
from tests.dashboards.stacks import BOARDS
from tests.rules.promql import run_tests

BOARD = BOARDS["usual"]["proxy-cost.json"]
VENDOR = 'cluster="dev", proxy_vendor="vendor-a"'
PART = f'{VENDOR}, proxy_pool="residential", team="search", proxy_target="shops"'
JOB = 'job="money", cluster="dev"'
BUDGET = f'{JOB}, budget="all", unit="USD"'
# Two pods of the exporter, as after its restart: costs count once.
SERIES = {
    f'proxy_vendor:cost:rate5m{{{VENDOR}, currency="USD"}}': 0.01,
    f'proxy_vendor:cost_of_failures:rate5m{{{VENDOR}, currency="USD"}}': 0.002,
    f'proxy_vendor:cost_per_success:ratio_rate5m{{{VENDOR}, currency="USD"}}': 0.003,
    f'proxy_vendor_pool:cost:rate5m{{{VENDOR}, proxy_pool="residential", currency="USD"}}': 0.01,
    f'team_proxy_vendor_pool_target:cost:rate5m{{{PART}, currency="USD"}}': 0.01,
    f'team_proxy_vendor:proxy_bytes:rate5m{{{VENDOR}, team="search"}}': 1000,
    f'team_proxy_vendor_pool_result_target:proxy_bytes:rate5m{{{PART}, proxy_result="failed"}}': 9,
    **{
        f'{metric}{{job="money", pod="{pod}", {PART}, currency="USD"}}': 12
        for metric in ("proxy_cost_month_to_date", "proxy_cost_last_day")
        for pod in ("money-1", "money-2")
    },
    f'proxy_unit_price{{job="money", {VENDOR}, unit="byte", proxy_result="delivered"}}': 8e-9,
    f"proxy_ledger_last_hour_timestamp_seconds{{{JOB}}}": 0,
    f"proxy_budget_limit{{{BUDGET}}}": 500,
    f"proxy_budget_used{{{BUDGET}}}": 250,
    **{
        f'proxy_budget_forecast{{{BUDGET}, bound="{bound}"}}': 600
        for bound in ("low", "expected", "high")
    },
    f'proxy_billed_bytes_last_day{{job="money", {VENDOR}}}': 2e9,
    f'proxy_metered_bytes_last_day{{job="money", {VENDOR}}}': 1e9,
}
EXPECTED = {
    "Cost an hour, now": 36,
    "Cost of failures an hour, now": 7.2,
    "This month until now": 12,
    "Yesterday": 12,
    "Budgets in trouble": 0,
    "Cost of 1,000 successes, by vendor": 3,
    "Cost by team, an hour": 36,
    "Cost by target group, an hour": 36,
    "Price of the next GB": 8,
    "Budget used this month": 0.5,
}
"""Of panels with one number here."""


def test_every_panel_of_money_has_an_answer(promtool: Path) -> None:
    """And its number is money, not a rate or twice of it."""
    found = queries(BOARD)
    assert {title for title, _ in found} >= set(EXPECTED)
    asked = [
        {
            "expr": f"round(sum({expr}), 0.000001)"
            if title in EXPECTED
            else f"count({expr}) > bool 0",
            "eval_time": "5m",
            "exp_samples": [{"labels": "{}", "value": EXPECTED.get(title, 1)}],
        }
        for title, expr in found
    ]
    series = [{"series": name, "values": f"{value}+0x10"} for name, value in SERIES.items()]
    document = {
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": asked}],
    }
    run_tests(promtool, document, {})
