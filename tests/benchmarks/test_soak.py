"""The soak compares what crawlers did with what Envoy counted, while modules come and go."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import soak, soak_crawlers
from benchmarks.crawlers import connected
from benchmarks.soak import counters, expected_counts
from benchmarks.soak_crawlers import AGES, Books
from lab.ports import Ports
from tests.lab.conftest import until
from tests.ports import free_block


@pytest.fixture(autouse=True)
def own_ports(monkeypatch):
    """A soak of half an hour may run on this machine."""
    for name in ("PORTS", "VENDOR"):
        monkeypatch.setattr(soak, name, Ports(free_block()))


def ask(call, number, status):
    for _ in range(number):
        call.sendall(b"GET http://a/%d/0 HTTP/1.1\r\nHost: a\r\n\r\n" % status)
        assert call.recv(65536).startswith(b"HTTP/1.1 %d " % status)


def test_a_new_module_keeps_what_the_old_one_counted():
    """Envoy drops a counter with the last VM that defined it: Prometheus would see a reset.

    So a VM tells the next one which counters there are, and the one beside it of new ones.
    """
    with soak.running() as running:
        (address,) = running.envoy.sockets
        first = connected(address)
        ask(first, 3, 404)
        running.change(soak.CHANGES_A_MODULE)
        until(lambda: running.taken() == str(soak.CHANGES_A_MODULE))
        until(lambda: running.machines > 3)
        ask(first, 2, 429)  # the old VM's, which the new one does not know from its start
        with connected(address) as second:
            ask(second, 1, 200)
        first.close()
        until(lambda: running.machines == 3)
        counts = counters(running.samples()).counts
    assert counts == {
        ("http", "404", "target_error"): 3,
        ("http", "429", "rate_limited"): 2,
        ("http", "200", "success"): 1,
    }


def test_a_short_soak_loses_nothing(monkeypatch):
    """The rows say what they claim: exact counts and bytes, all old VMs gone."""
    monkeypatch.setenv("DURATION", "6")
    (_, kinds), *older = AGES
    monkeypatch.setattr(soak_crawlers, "AGES", [((0.2, 1.0), kinds), *older])
    rows = {row.name.removeprefix("soak: "): row for row in soak.half_an_hour()}
    counts, sizes, memory, _ = rows.values()
    assert (counts.value, counts.note[:3]) == (0, "of ")
    assert (sizes.value, sizes.note[:3]) == (0, "of ")
    assert memory.note.endswith("VMs at the start 3, at the end 3")


def test_the_crawlers_connections_have_all_ages():
    """Some see one configuration, some several, some every one."""
    kinds = {"http", "tunnel", "socks", "opaque"}
    assert all(set(each) == kinds for _, each in AGES)
    assert [ages is None for ages, _ in AGES] == [False, False, True]


@pytest.mark.parametrize("outcome", ["target_error", "vendor_error"])
def test_the_rule_decides_one_status_alone(outcome):
    """A connection keeps its configuration: by age, either outcome is right."""
    labels = {"proxy_visibility": "http", "response_code": "503", "proxy_outcome": outcome}
    counted = counters(iter([("istio_requests_total", labels, 4)]))
    books = Books(counts=Counter({("http", "503"): 4}))
    assert counted.counts == {("http", "503", "by rule"): 4}
    assert {key: n for key, n in expected_counts(books).items() if n} == counted.counts
