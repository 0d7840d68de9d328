from __future__ import annotations

import json

from components.simulated_vendors.plan import (
    CUSTOMER,
    PASSWORD_VARIABLE,
    vendor_plan,
)
from settings.loading import parse_settings
from simulation.proxy.reading import read_plan

VENDORS = [
    {"name": "vendor-a", "cidrs": ["10.1.0.0/16"]},
    {"name": "vendor-b", "cidrs": ["2001:db8::/32"], "inspect": "connections"},
]
BEHAVIOUR = {"latency_seconds": 0.2, "faults": {"blocked": 0.1}, "exits": {"count": 5}}


def stack(**keys):
    vendors = {
        "vendor-a": {"endpoint": "10.1.0.10:80", "behaviour": BEHAVIOUR},
        "vendor-b": {"endpoint": "[2001:db8::5]:3128", "login": False},
    }
    simulated = {"enabled": True, "vendors": vendors, **keys}
    return parse_settings({"cluster": "dev", "vendors": VENDORS, "simulatedVendors": simulated})


def test_a_plan_is_one_the_vendor_takes():
    """It refuses a plan it does not know whole: the pod would never start."""
    raw = json.loads(json.dumps(vendor_plan(stack(), "vendor-a")))
    plan = read_plan(raw, {PASSWORD_VARIABLE: "secret"})
    (listen,) = plan.listen
    # Low ports need privileges; every port of the vendor leads here.
    assert (listen.vendor, listen.port, listen.visible) == ("vendor-a", 3128, "requests")
    assert plan.vendors["vendor-a"].passwords == {CUSTOMER: "secret"}
    assert plan.vendors["vendor-a"].exits.count == 5
    assert plan.slow_seconds > plan.timeout_after_seconds


def test_a_vendor_nobody_looks_into_books_connections():
    """Without login anybody may use it."""
    plan = read_plan(vendor_plan(stack(), "vendor-b"), {})
    (listen,) = plan.listen
    # The pod's addresses are of the families that the cluster has, whatever the vendor's.
    assert (listen.address, listen.visible) == ("*", "connections")
    assert plan.control_host == "*"
    assert plan.vendors["vendor-b"].credentials == {}


def test_the_order_of_a_stack_files_keys_rolls_no_pod():
    """The plan's text is in a pod's ConfigMap, which is another where the text is."""
    backwards = dict(reversed(BEHAVIOUR.items()))
    other = {"vendor-a": {"endpoint": "10.1.0.10:80", "behaviour": backwards}}
    one, two = (
        json.dumps(vendor_plan(settings, "vendor-a"))
        for settings in (stack(), stack(vendors=other))
    )
    assert one == two
