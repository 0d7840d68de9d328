"""What traffic costs in the lab: invented prices and hours, by the shipped exporter."""

from __future__ import annotations

import re
import urllib.request

from lab.money import start_money, with_prices
from lab.ports import Ports
from lab.processes import children
from lab.system import ROOT, load_settings
from money.from_settings import contracts_of
from tests.lab.conftest import until
from tests.ports import free_block

SAMPLE = re.compile(r"(\w+)\{(.*)\} (.+)")


def figures(page):
    """Return the numbers of a page by metric and labels."""
    found = {}
    for name, labels, value in SAMPLE.findall(page):
        found[name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
    return found


def test_each_vendor_costs_something_and_no_budget_alerts(tmp_path):
    """A picture of a calm lab shows sums, whatever the day on which it is taken."""
    ports = Ports(free_block(["127.0.0.1"]))
    settings = with_prices(load_settings(ports), ports)
    with children() as family:
        start_money(family, settings, ports, tmp_path, ROOT)

        def page():
            family.check()
            url = f"http://127.0.0.1:{ports.money_exporter}/metrics"
            try:
                with urllib.request.urlopen(url, timeout=60) as answer:
                    text = answer.read().decode()
            except OSError:
                return ""
            return text if "proxy_cost_last_day" in text else ""

        found = figures(until(page, seconds=300))
    vendors = {vendor.name for vendor in settings.vendors}
    assert {one.vendor for one in contracts_of(settings)} == vendors
    costs = {
        dict(labels)["proxy_vendor"]: value
        for (name, labels), value in found.items()
        if name == "proxy_cost_last_day" and value > 0
    }
    assert costs.keys() == vendors
    limits = {
        dict(labels)["budget"]: value
        for (name, labels), value in found.items()
        if name == "proxy_budget_limit"
    }
    forecasts = [
        (dict(labels)["budget"], value)
        for (name, labels), value in found.items()
        if name == "proxy_budget_forecast"
    ]
    assert len(forecasts) == 3 * len(limits)
    for budget, value in forecasts:
        # From half on, ProxyBudgetUsed fires.
        assert 0 < value < 0.5 * limits[budget]
