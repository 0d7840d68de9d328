from __future__ import annotations

import json

import pytest

from components.traffic.plan import crawler_plan
from settings.model import LoadGenerator
from traffic.crawler import read_plan

ENDPOINTS = {"vendor-b": "10.2.0.10:3128", "vendor-a": "[2001:db8::1]:8080"}


@pytest.mark.parametrize(
    ("replicas", "rate", "each"), [(1, 10, 10), (3, 10, 3.333), (1000, 1, 0.01), (1, 5000, 5000)]
)
def test_replicas_share_the_rate_in_a_plan_the_crawler_takes(replicas, rate, each):
    """The stack's rate is that of all replicas together, at any size."""
    load_generator = LoadGenerator(
        enabled=True, replicas=replicas, requests_per_second=rate, endpoints=ENDPOINTS
    )
    raw = crawler_plan(load_generator, patience_seconds=10, metrics_port=9464)
    plan = read_plan(json.loads(json.dumps(raw)), {})
    assert plan.requests_per_second == each
    assert [(v.name, v.address, v.port) for v in plan.vendors] == [
        ("vendor-a", "2001:db8::1", 8080),
        ("vendor-b", "10.2.0.10", 3128),
    ]
    assert plan.count is None
    assert plan.metrics_host == "0.0.0.0"
