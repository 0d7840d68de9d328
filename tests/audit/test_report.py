"""Which pod belongs to which, what is a finding, and what is excused."""

from __future__ import annotations

import random

import pytest

from audit.books import NothingToAuditError, parties
from audit.report import MOST_EXPLAINED, Report, Stop
from tests.audit.history import START, Booking, History, ms, play, row

STAMPS = range(0, 20)


def series(job, pod, name, values, **labels):
    base = {"__name__": name, "job": job, "namespace": "crawlers", "pod": pod, **labels}
    return base, {ms(n): float(v) for n, v in zip(STAMPS, values, strict=True)}


def scraped(job, pod):
    return series(job, pod, "up", [1] * len(STAMPS))


def report(history, **more):
    return Report(audit=history.audit(), gaps=[], **more)


def test_a_generator_is_compared_with_the_sidecar_of_its_own_pod():
    """Other crawlers have sidecars too, and traffic that is nobody's business here."""
    found = parties(
        [
            *(scraped("sidecars", pod) for pod in ("crawler-1", "generator-1", "generator-2")),
            *(scraped("load-generator", pod) for pod in ("generator-1", "generator-2")),
        ],
        begun=START,
    )
    assert [(p.generator.name, p.sidecar.name) for p in found.pairs] == [
        ("generator-1", "generator-1"),
        ("generator-2", "generator-2"),
    ]


def test_pods_of_one_name_in_two_namespaces_are_two():
    """A name is unique within its namespace alone."""
    answers = [
        (labels | {"namespace": namespace}, samples)
        for namespace in ("one", "two")
        for labels, samples in (scraped("sidecars", "g-0"), scraped("load-generator", "g-0"))
    ]
    found = parties(answers, begun=START)
    names = [(pair.generator.name, pair.sidecar.name) for pair in found.pairs]
    assert names == [("one/g-0", "one/g-0"), ("two/g-0", "two/g-0")]


def test_a_generator_without_sidecar_is_a_finding():
    """Its traffic goes round the mesh: a pod that was not injected."""
    answers = [scraped("sidecars", "generator-1"), scraped("sidecars", "other")]
    answers += [scraped("load-generator", pod) for pod in ("generator-1", "generator-2")]
    assert parties(answers, begun=START).lonely == ["generator-2"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "holds no scrapes"),
        ([scraped("sidecars", "a")], "no generator was scraped"),
        ([scraped("load-generator", "a")], "no sidecar was scraped"),
    ],
)
def test_no_books_no_audit(answers, words):
    """An empty comparison would find everything equal."""
    with pytest.raises(NothingToAuditError, match=words):
        parties(answers, begun=START)


def test_traffic_of_the_pod_that_the_generator_did_not_make_is_not_its_row():
    """A pod may reach other addresses; only where the generator means to is it compared."""
    true = play(History(), random.Random(1), per_second=5)
    labels = (("cluster_name", "PassthroughCluster"),)
    true.bookings.append(Booking("sidecar", 9.0, "envoy_cluster_upstream_cx_total", labels))
    assert true.audit().unexplained == 0


def test_a_moved_count_names_its_other_half():
    """Vendor, outcome and all three numbers in one line."""
    true = play(History(), random.Random(1), per_second=5)
    right = row("sidecar", "vendor-a", "http", "success")
    wrong = row("sidecar", "vendor-a", "http", "target_error")
    moved = next(one for one in true.bookings if (one.metric, one.labels) == right)
    moved.labels = wrong[1]
    lines = report(true).findings
    assert [line.split(":")[0] for line in lines] == [
        "vendor-a http success",
        "vendor-a http target_error",
    ]
    assert "1 unexplained (counted as target_error)" in lines[0]
    assert "generator 0, vendors 0, mesh 1: 1 unexplained (from success)" in lines[1]


def test_in_a_vendors_outage_counts_may_change_their_name_and_not_vanish():
    """The generator cannot tell why its sidecar answered in the vendor's place, but that it did."""
    outage = History(downs=[("vendor", 30.0, 33.0)])
    true = play(outage, random.Random(4), per_second=40)
    stop = Stop(name="vendor", kind="vendor", after=START + 30, before=START + 33)
    found = report(true, stops=[stop])
    assert found.findings == []
    renamed = {line.row.what for line in found.audit.lines if line.difference}
    assert {"unexpected", "connect_failed"} <= renamed

    [told, *_] = [
        one
        for one in true.bookings
        if one.process == "sidecar" and 31 < one.at < 32 and "connect_failed" in str(one.labels)
    ]
    true.bookings.remove(told)
    (line,) = report(true, stops=[stop]).findings
    assert "its rows do not add up, 1 unexplained (mesh -1 at" in line


def test_too_much_explained_is_a_finding_unless_it_was_deliberate():
    """Lost scrapes must stay rare; a stop is judged by what it can explain."""
    true = play(History(downs=[("sidecar", 30.0, 31.0)]), random.Random(2), per_second=40)
    found = report(true)
    assert found.share > MOST_EXPLAINED
    assert [line.split(":")[0] for line in found.findings] == ["explained differences"]
    stop = Stop(name="envoy", kind="sidecar", after=START + 30, before=START + 31)
    assert report(true, stops=[stop]).findings == []


def test_a_stop_that_no_book_shows_is_a_finding():
    """Else the audit would not notice that nothing was stopped."""
    true = play(History(), random.Random(2), per_second=5)
    stop = Stop(name="vendor", kind="vendor", after=START + 30, before=START + 31)
    (line,) = report(true, stops=[stop]).findings
    assert line.startswith("vendor: was stopped at")
    away = Stop(name="prometheus", kind="prometheus", after=START + 30, before=START + 31)
    seen = Report(audit=true.audit(), gaps=[(START + 29, START + 32)], stops=[away])
    assert seen.findings == []


def test_the_report_for_programs_has_what_the_lines_say():
    """Rows as those of demo-check, with what is explained and what is not."""
    true = play(History(downs=[("sidecar", 30.0, 31.0)]), random.Random(2), per_second=40)
    content = report(true).as_json()
    assert content["status"] == 1
    assert {*content["rows"][0]} == {
        *("vendor", "visibility", "outcome", "generator", "vendor_books", "mesh"),
        *("difference", "cause", "explained", "unexplained", "parts"),
    }
    (event,) = content["events"]
    assert event["explained"] == content["explained"] > 0
    assert sum(r["generator"] for r in content["rows"]) == content["counts"]
