"""Where hours are kept without a word about it, and where not."""

from __future__ import annotations

import pytest

from settings.loading import parse_settings

PRICES = {"currency": "USD", "perGB": {"price": 8.4, "unit": "GB"}}
OF_VENDOR = {"billing": PRICES}
OF_PRODUCT = {"products": [{"user": "*-zone-resi*", "name": "residential", "billing": PRICES}]}
OPERATOR = {"mode": "operator", "url": "http://prometheus.monitoring.svc", "operatorLabels": {}}
GLOBAL = {
    "role": "global",
    "federateFrom": [{"cluster": "eu", "url": "https://p.eu.example", "stack": "prod-eu"}],
}
STORE = {"url": "https://store.example/prometheus"}


@pytest.mark.parametrize(
    ("vendor", "ledger", "prometheus", "runs", "records"),
    [
        ({}, {}, {}, False, False),
        (OF_VENDOR, {}, {}, True, True),
        (OF_PRODUCT, {}, {}, True, True),
        (OF_VENDOR, {"enabled": False}, {}, False, False),
        ({}, {"enabled": True}, {}, True, True),
        # Another team's Prometheus has a store of its own, or nobody keeps hours.
        (OF_VENDOR, {}, OPERATOR, False, False),
        (OF_VENDOR, STORE, OPERATOR, False, True),
        (OF_VENDOR, STORE, {}, False, True),
        # A global server has no crawlers; each cluster's own stack keeps its hours.
        (OF_VENDOR, {}, GLOBAL, False, False),
    ],
)
def test_who_gives_prices_wants_them_compared(vendor, ledger, prometheus, runs, records):
    """An invoice comes after Prometheus has forgotten what it is for."""
    settings = parse_settings(
        {
            "cluster": "x",
            "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"], **vendor}],
            "ledger": ledger,
            "prometheus": prometheus,
        }
    )
    assert settings.runs_ledger is runs
    assert settings.records_hours is records
