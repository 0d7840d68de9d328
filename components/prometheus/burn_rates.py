"""How fast vendors use up their error budgets: one table of windows, from which the rules are made.

A burn rate of 1 over a week uses up exactly what the objective allows; a week, since that is what
Prometheus keeps. An alert has a pair of windows, as in Google's SRE workbook: the long one shows
that the burning matters, and the short one ends the alert soon after the trouble.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from settings.alerts import FAST_BURN, SLOW_BURN

Json = dict[str, Any]

WINDOWS = ("30m", "1h", "6h")
"""Beside 5 minutes, the window of every rate."""
WEEK = "7d"
"""The window of the objective: the burn rate over it is the share of the budget that is used."""


class BurnAlert(NamedTuple):
    name: str
    long: str
    short: str
    burn_rate: float
    wait: str
    severity: str
    summary: str
    cause: str


ALERTS = (
    BurnAlert(
        *("ProxyVendorBudgetBurnsFast", "1h", "5m", FAST_BURN, "2m", "critical"),
        summary="uses up a week's error budget in a day or two.",
        cause="The vendor is in trouble, or it refuses what crawlers send.",
    ),
    BurnAlert(
        *("ProxyVendorBudgetBurnsSlowly", "6h", "30m", SLOW_BURN, "15m", "warning"),
        summary="will miss its objective if it goes on like this.",
        cause="The vendor got worse, or crawlers now ask it for harder sites.",
    ),
)

_REQUESTS = "proxy_vendor:istio_requests:rate5m"
_FAILURES = "proxy_vendor:request_failures:rate5m"
_FAILURE_RATIO = "proxy_vendor:request_failures_per_requests:ratio_rate5m"
_OBJECTIVE = "proxy_vendor:slo:ratio"
_BURN_RATE = "proxy_vendor:request_failures_per_budget:burnrate"
_ON = "on (cluster, proxy_vendor)"


def burn_rate_rules() -> Json:
    """Return the rule file as plain values."""
    # Averages of the 5 m rates, not rates over raw counters: Prometheus would read six hours of
    # every sidecar's counters again each 15 s, to the same result.
    records = [_record("5m", _FAILURE_RATIO), *(_record(w, _average(w)) for w in WINDOWS)]
    # A week changes slowly, and reading it each 15 s would cost what all other rules do together.
    # Less often than Prometheus' lookback of 5 minutes it would have gaps.
    week = {"interval": "2m", "rules": [_record(WEEK, _average(WEEK))]}
    return {
        "groups": [
            {"name": "burn_rates", "rules": [*records, *map(_alert, ALERTS)]},
            {"name": "week", **week},
        ]
    }


def _average(window: str) -> str:
    return f"avg_over_time({_FAILURES}[{window}]) / (avg_over_time({_REQUESTS}[{window}]) > 0)"


def _record(window: str, ratio: str) -> Json:
    return {"record": _BURN_RATE + window, "expr": f"{ratio}\n  / {_ON} (1 - {_OBJECTIVE})"}


def _alert(alert: BurnAlert) -> Json:
    return {
        "alert": alert.name,
        "expr": f"{_BURN_RATE}{alert.long} > {alert.burn_rate}\n"
        f"and {_ON} {_BURN_RATE}{alert.short} > {alert.burn_rate}\n"
        # A vendor with next to no traffic has no burn rate worth an alert.
        f"and {_ON} (\n  avg_over_time({_REQUESTS}[{alert.long}])\n"
        f"    >= {_ON} proxy_vendor:istio_requests:threshold\n)",
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": f"{{{{ $labels.proxy_vendor }}}} {alert.summary}",
            "description": f"In the last {alert.long} its error budget went "
            f"{{{{ $value | humanize }}}} times as fast as its objective of "
            f"{_template(_OBJECTIVE, _PERCENT)} allows; now {_template(_FAILURE_RATIO, _PERCENT)} "
            f"of requests fail, most as {_MOST_FREQUENT}. {alert.cause}",
        },
    }


_PERCENT = "value | humanizePercentage"


def _template(record: str, output: str, function: str = "{}") -> str:
    """Return the template that prints the vendor's value of a record."""
    query = function.format(f"{record}{{cluster=%q, proxy_vendor=%q}}")
    return (
        f'{{{{ with printf "{query}" $labels.cluster $labels.proxy_vendor | query }}}}'
        f"{{{{ . | first | {output} }}}}{{{{ end }}}}"
    )


_MOST_FREQUENT = _template(
    "proxy_vendor_outcome:request_failures:rate5m", 'label "proxy_outcome"', "topk(1, {})"
)
