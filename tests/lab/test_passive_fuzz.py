"""What nobody thought of passes a passive sidecar as if it were not there, and does it no harm."""

from __future__ import annotations

import pytest

from lab.system import load_settings
from money.results import RESULTS
from tests.lab.hostile import MARK
from tests.lab.passive_fuzz import (
    differences,
    good_requests_count,
    memory_kib,
    running_on_every_address,
    scripts,
)
from tests.lab.script import PARSED
from tests.lab.test_harmless import CODES, OUTCOMES

EXCHANGES = 1000
CONNECTIONS = 5000
MOST_GROWN_KIB = 4096  # the allocator's and V8's own comings and goings


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_on_every_address(tmp_path_factory.mktemp("fuzz")) as own:
        yield own


def test_generated_exchanges_differ_in_nothing_from_no_envoy(running):
    """Hostile or broken, cut anywhere: every byte, and how each end comes. Then it still counts."""
    assert differences(scripts(EXCHANGES), running) == []
    assert good_requests_count(running, 50)


def test_what_is_hostile_reaches_no_label_and_no_log(running):
    """Labels hold what the tables hold, whatever a crawler, a vendor or a site says."""
    settings = load_settings(running.sidecar.ports)
    allowed = {
        "proxy_vendor": {vendor.name for vendor in settings.vendors},
        "proxy_visibility": {"http", "tunnel", "socks", "opaque"},
        "proxy_outcome": OUTCOMES,
        "proxy_pool": {entry.pool for vendor in settings.vendors for entry in vendor.cidrs},
        "proxy_target": {"", "other", *(target.name for target in settings.targets)},
        "proxy_result": {*RESULTS},
        "response_code": CODES,
        "source_workload": {"crawler"},
        "source_workload_namespace": {"crawlers"},
    }
    metrics = ("requests", "tcp_connections_opened", "proxy_request_bytes", "proxy_response_bytes")
    for metric in metrics:
        found = [labels for labels, _ in running.sidecar.samples(f"istio_{metric}_total")]
        assert found, metric
        for labels in found:
            for label, value in labels.items():
                assert value in allowed[label], (metric, label, value)
    log = (running.sidecar.extension_dir.parent / "envoy.log").read_text(errors="replace")
    assert MARK.decode() not in running.sidecar.stats()
    assert MARK.decode() not in log
    assert "[error]" not in log
    assert "[critical]" not in log


def test_connections_that_ended_leave_nothing_in_memory(running):
    """A sidecar lives for weeks."""
    before, after = memory_kib(running, CONNECTIONS)
    assert after - before < MOST_GROWN_KIB
    assert good_requests_count(running, 1)


def test_an_envoy_that_parses_differs(tmp_path):
    """A comparison that cannot fail proves nothing."""
    with running_on_every_address(tmp_path, "http") as parsing:
        assert len(differences(scripts(40), parsing, PARSED)) > 5
