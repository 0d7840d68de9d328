"""From series of Prometheus to processes: which pod is which, and who is missing."""

from __future__ import annotations

import random
import re

import pytest

from books.comparison import compare
from books.counters import CONNECTION, COUNTS, OPAQUE_BYTES, OUTSIDE, WIRE_BYTES, Key
from books.final import final_books
from books.reading import NothingToCompareError, books_from_series, quiet_times, selector
from books.report import audit_report
from tests.books.history import START, History, ms, play

STAMPS = range(0, 20)


def scraped(job, pod, namespace="crawlers"):
    labels = {"__name__": "up", "job": job, "namespace": namespace, "pod": pod}
    return labels, {ms(n): 1.0 for n in STAMPS}


def pods(books):
    return [(pod.generator.name, pod.sidecar.name) for pod in books.pods]


def test_a_generator_is_compared_with_the_sidecar_of_its_own_pod():
    """Other crawlers have sidecars too; and a pod's name is unique in its namespace only."""
    answers = [scraped("sidecars", pod) for pod in ("crawler-1", "g-1", "g-2")]
    answers += [scraped("load-generator", pod) for pod in ("g-1", "g-2", "g-3")]
    answers += [scraped(job, "g-1", "other") for job in ("sidecars", "load-generator")]
    found = books_from_series(answers, begun=START)
    names = ["crawlers/g-1", "g-2", "other/g-1"]
    assert pods(found) == [(name, name) for name in names]
    assert found.without_sidecar == ["g-3"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "no load-generator"),
        ([scraped("sidecars", "a")], "no load-generator"),
        ([scraped("load-generator", "a")], "no sidecars"),
    ],
)
def test_without_books_there_is_no_comparison(answers, words):
    """An empty comparison would find everything equal."""
    with pytest.raises(NothingToCompareError, match=words):
        books_from_series(answers, begun=START)


def test_prometheus_was_away_if_no_process_was_scraped():
    """One process that is not scraped is another matter."""
    true = play(History(downs=[("prometheus", 20.0, 35.0), ("vendor", 40, 50)]), random.Random(3),
                per_second=5)  # fmt: skip
    found = books_from_series(true.answers(exporters=()), begun=START, all_from_zero=True)
    [(after, before)] = quiet_times(found)
    assert (round(after - START), round(before - START)) == (20, 35)


class Growing:
    """A Prometheus that stores a scrape 0.9 s after it began, while questions take time."""

    def __init__(self, history):
        self.answers, self.asked = [*history.answers(exporters=())], 0

    def series(self, selector, begin, end):
        self.asked += 1
        name, rest = selector.split("{", 1)
        for labels, samples in self.answers:
            if labels["__name__"] == name and labels["job"] in rest:
                stored = end - 0.9 + 0.05 * self.asked
                kept = {at: v for at, v in samples.items() if at / 1000 <= min(end, stored)}
                if kept:
                    yield labels, kept


@pytest.mark.parametrize("late", [0.0, 0.5, 0.8])
def test_a_scrape_that_ends_between_two_questions_is_left_out(late):
    """Else its counters would seem to have vanished, as after a restart."""
    true = play(History(), random.Random(1), per_second=40)
    found = audit_report(Growing(true), START - 1, START + 30 + late, since=0.0, all_from_zero=True)
    assert (found.findings, found.comparison.events) == ([], [])
    assert found.comparison.counts > 800


def sample(value, **labels):
    return {"metric": labels, "value": [0, str(value)]}


def test_a_destinations_bytes_are_compared_with_no_vendors():
    """No other party counts them, and they have a name where a vendor has one."""
    asked = selector("sidecars", "envoy_cluster_upstream_cx_tx_bytes_total")
    left_out = re.search(r'cluster_name!~"([^"]*)"', asked)[1]
    assert re.fullmatch(left_out, "proxy-destination_store")
    assert not re.fullmatch(left_out, "proxy-vendor_vendor-a")
    assert not re.fullmatch(left_out, "")  # what istio.stats counts


LAST_SCRAPE = {
    "istio_requests_total": [
        sample(3, proxy_vendor="a", proxy_visibility="http", proxy_outcome="success"),
        sample(1, proxy_vendor="a", proxy_visibility="http", proxy_outcome="success", code="2xx"),
        sample(2, proxy_vendor="a", proxy_visibility="http", proxy_outcome="connect_failed"),
    ],
    "istio_proxy_request_bytes_total": [sample(10, proxy_vendor="a")],
    "envoy_cluster_upstream_cx_tx_bytes_total": [sample(10_000, proxy_vendor="a")],
    "envoy_cluster_upstream_cx_total": [
        sample(7, cluster_name="PassthroughCluster", proxy_vendor="outside")
    ],
    "crawler_requests_total": [
        sample(5, vendor="a", visibility="http", outcome="success"),
        sample(2, vendor="a", visibility="http", outcome="connect_failed"),
        sample(1, vendor="b", visibility="http", outcome="success"),
    ],
    "crawler_connections_total": [sample(7, vendor=OUTSIDE)],
    "crawler_bytes_total": [sample(10, vendor="a", direction="sent")],
    "vendor_requests_total": [sample(5, vendor="a", visibility="http", outcome="success")],
    "vendor_opaque_connections_total": [sample(7, vendor=OUTSIDE)],
    "vendor_opaque_bytes_total": [sample(10, vendor="a", direction="received")],
    "vendor_wire_bytes_total": [sample(10_005, vendor="a", direction="received")],
}


def test_the_last_scrape_of_a_run_is_compared_to_the_count():
    """Directions are the crawler's; a vendor cannot know what never reached it."""
    books = final_books(lambda selector: LAST_SCRAPE.get(selector.split("{")[0], []), START)
    found = compare(books, lag_seconds=0.0)
    numbers = {
        key: (row.generator, row.vendor_books, row.mesh, row.difference, row.cause)
        for key, row in found.rows.items()
        if key.outcome != "all outcomes"
    }
    unseen = numbers.pop(Key(COUNTS, "b", "http", "success"))
    assert unseen[:4] == (1, 0, 0, -1)
    assert numbers == {
        Key(COUNTS, "a", "http", "success"): (5, 5, 4, -1, "never seen by Envoy"),
        Key(COUNTS, "a", "http", "connect_failed"): (2, None, 2, 0, None),
        Key(COUNTS, OUTSIDE, "opaque", CONNECTION): (7, 7, 7, 0, None),
        Key(OPAQUE_BYTES, "a", "opaque", "sent"): (10, 10, 10, 0, None),
        Key(WIRE_BYTES, "a", "", "sent"): (
            None, 10_005, 10_000, -5, "the two are read at different moments"
        ),
    }  # fmt: skip
