"""What is a finding, what it says, and what is excused."""

from __future__ import annotations

import random

import pytest

from books.comparison import compare
from books.reading import books_from_series
from books.report import MOST_EXPLAINED, Report, Stop
from tests.books.history import START, Booking, History, connection, ms, play, row

SEEN = ("http", "success")
MESH_CONNECTIONS = "istio_tcp_connections_opened_total"


def report(history, **more):
    return Report(comparison=history.compared(), **more)


def report_of(answers):
    return Report(comparison=compare(books_from_series(answers, begun=START - 1)))


def stop(name, begin=30.0, end=33.0):
    return Stop(name=name, kind=name, after=START + begin, before=START + end)


def booked(history, process, vendor, visibility, outcome):
    metric, labels = row(process, vendor, visibility, outcome)
    return [one for one in history.bookings if (one.metric, one.labels) == (metric, labels)]


def rename(booking, outcome):
    booking.labels = tuple((k, outcome if "outcome" in k else v) for k, v in booking.labels)


def test_connections_that_the_generator_did_not_make_are_not_compared():
    """A pod has other traffic to addresses outside every range."""
    true = play(History(), random.Random(1), per_second=5)
    labels = (("cluster_name", "PassthroughCluster"),)
    true.bookings.append(Booking("sidecar", 9.0, "envoy_cluster_upstream_cx_total", labels))
    assert true.compared().unexplained == 0


def test_a_count_under_another_outcome_names_its_other_half():
    """One line has vendor, both numbers, the difference and the cause."""
    true = play(History(), random.Random(1), per_second=5)
    rename(booked(true, "sidecar", "vendor-a", *SEEN)[0], "target_error")
    assert report(true).findings == [
        "vendor-a http success: mesh 20 - generator 21 = -1 (counted as target_error)",
        "vendor-a http target_error: mesh 1 - generator 0 = +1 (from success)",
    ]


def test_a_book_that_counts_everything_twice_is_exact_in_nothing():
    """The smallest book alone would say that all are."""
    true = play(History(), random.Random(1), per_second=5)
    found = true.compared()
    assert found.exact == found.counts > 0
    for booking in true.bookings:
        if booking.process == "sidecar":
            booking.amount *= 2
    found = true.compared()
    assert (found.exact, found.counts > 0) == (0, True)


def test_one_count_too_many_is_one_less_that_is_exact():
    true = play(History(), random.Random(1), per_second=5)
    booked(true, "sidecar", "vendor-a", *SEEN)[0].amount = 2
    found = true.compared()
    assert found.exact == found.counts - 1


def test_late_first_bytes_are_named():
    """If a crawler stalls after connecting, its requests on that connection count as opaque."""
    true = play(History(), random.Random(1), per_second=5)
    requests = booked(true, "sidecar", "vendor-a", *SEEN)[:2]
    for one in requests:
        true.bookings.remove(one)
    opaque = Booking("sidecar", requests[1].at, MESH_CONNECTIONS, (("proxy_vendor", "vendor-a"),))
    true.bookings.append(opaque)
    first, second = report(true).findings
    assert "-2 (seen as opaque: first bytes came later than Envoy waits" in first
    assert "+1 (from http or tunnel: first bytes came later" in second


def test_a_surplus_explains_only_as_many_losses_as_it_has_counts():
    """A range is given away, and another vendor's traffic goes past Envoy."""
    true = play(History(), random.Random(1), per_second=20)
    for one in booked(true, "sidecar", "vendor-a", *SEEN)[:20]:
        one.labels = row("sidecar", "vendor-c", *SEEN)[1]
    for one in booked(true, "sidecar", "vendor-b", *SEEN)[:5]:
        true.bookings.remove(one)
    rows = report(true).comparison.count_rows
    assert {one.key.vendor: one.cause for one in rows if one.unexplained} == {
        "vendor-a": "counted as vendor-c",
        "vendor-b": "never seen by Envoy",
        "vendor-c": "from vendor-a",
    }


def test_in_a_vendors_outage_counts_may_change_their_outcome_but_not_vanish():
    """The generator cannot tell why its sidecar answered in the vendor's place."""
    true = play(History(downs=[("vendor", 30.0, 33.0)]), random.Random(4), per_second=40)
    found = report(true, stops=[stop("vendor")])
    assert found.findings == []
    renamed = {one.key.outcome for one in found.comparison.count_rows if one.difference}
    assert {"unexpected", "connect_failed"} <= renamed

    lost = next(
        one
        for one in true.bookings
        if one.process == "sidecar" and 31 < one.at < 32 and "connect_failed" in str(one.labels)
    )
    true.bookings.remove(lost)
    (line,) = report(true, stops=[stop("vendor")]).findings
    assert "its rows do not add up, 1 unexplained (mesh -1 at" in line


@pytest.mark.parametrize("is_passive", [True, False])
def test_a_request_that_was_refused_unread_may_be_a_connection(is_passive):
    """A passive sidecar may learn that the vendor is not there before it has read a byte."""
    true = play(History(downs=[("vendor", 30.0, 33.0)]), random.Random(4), per_second=40)
    refused = next(
        one
        for one in true.bookings
        if one.process == "sidecar" and 31 < one.at < 32 and "connect_failed" in str(one.labels)
    )
    vendor = dict(refused.labels)["proxy_vendor"]
    true.bookings.remove(refused)
    true.book("sidecar", refused.at, connection("sidecar", vendor))
    if is_passive:
        for process in ("sidecar", "vendor", "generator"):
            true.book(process, 10.0, row(process, vendor, "socks", "success"))
    assert bool(report(true, stops=[stop("vendor")]).findings) != is_passive


@pytest.mark.parametrize("outcome", ["timeout", "client_cancelled"])
def test_a_crawler_may_leave_as_the_vendor_dies(outcome):
    """Its sidecar saw the end first and calls it a reset. At any other time that is a finding."""
    true = play(History(downs=[("vendor", 30.0, 33.0)]), random.Random(4), per_second=40)
    own = [one for one in true.bookings if one.process == "generator"]
    rename(next(o for o in own if o.at == 30.002 and "unexpected" in str(o.labels)), outcome)
    assert report(true, stops=[stop("vendor")]).findings == []
    rename(next(o for o in own if o.at > 45 and "reset" in str(o.labels)), outcome)
    assert len(report(true, stops=[stop("vendor")]).findings) == 2


def test_too_much_explained_is_a_finding_unless_the_stop_was_on_purpose():
    """Lost scrapes must stay rare; a stop of STOPS is judged by what it can explain."""
    true = play(History(downs=[("sidecar", 30.0, 31.0)]), random.Random(2), per_second=40)
    found = report(true)
    assert found.share_explained > MOST_EXPLAINED
    (line,) = found.findings
    assert line.startswith("stopped processes lost ")
    assert report(true, stops=[stop("sidecar")]).findings == []

    content = found.as_json()
    (event,) = content["events"]
    assert event["explained"] == content["explained"] > 0
    assert sum(one["generator"] for one in content["rows"]) == content["counts"]
    assert {*content["rows"][0]} >= {
        *("vendor", "visibility", "outcome", "generator", "vendor_books", "mesh"),
        *("difference", "cause", "explained", "unexplained", "parts"),
    }


def test_a_stop_that_no_book_shows_is_a_finding():
    """Else the audit would not notice that nothing was stopped."""
    true = play(History(), random.Random(2), per_second=5)
    (line,) = report(true, stops=[stop("vendor")]).findings
    assert line.startswith("vendor: was stopped at")
    gap = (START + 29, START + 32)
    assert report(true, stops=[stop("prometheus")], gaps=[gap]).findings == []


# --- A book that is silent agrees with everything, so silence is a finding ------------------


def read_only(answers, job, first, last):
    """Leave a job's targets only the scrapes of a part of the window."""
    for labels, samples in answers:
        keep = labels["job"] != job
        yield labels, {a: v for a, v in samples.items() if keep or ms(first) <= a <= ms(last)}


def failing(answers, job):
    """Let all scrapes of a job's targets fail."""
    for labels, samples in answers:
        if labels["job"] != job:
            yield labels, samples
        elif labels["__name__"] == "up":
            yield labels, dict.fromkeys(samples, 0.0)


def begun_before(history, number=0):
    """A pod of a cluster, and a vendor, whose processes began before the window."""
    for labels, samples in history.answers_as(number):
        if labels["__name__"] == "process_start_time_seconds":
            yield labels, dict.fromkeys(samples, START - 100)
        else:
            yield labels, samples


@pytest.mark.parametrize("job", ["sidecars", "load-generator", "simulated-vendors"])
@pytest.mark.parametrize("span", [(0, 5), (45, 60), (20, 30)])
def test_a_time_in_which_only_one_book_was_read_is_a_finding(job, span):
    """Else what the mesh did not see then would be invisible."""
    true = play(History(), random.Random(1), per_second=20)
    assert report_of(begun_before(true)).findings == []
    found = report_of(read_only(begun_before(true), job, *span))
    assert found.findings
    if job == "load-generator":  # the others' books have too much, once it has ended
        return
    assert found.comparison.unexplained == 0
    names = {"sidecars": {"generator-0"}, "simulated-vendors": {"vendor-a", "vendor-b"}}
    assert {line.split(": not compared from")[0] for line in found.findings} == names[job]


def test_the_windows_edges_are_no_silence():
    """Each book's last scrape is another moment, while counts go on."""
    true = play(History(), random.Random(1), per_second=200)
    answers = ((labels, {at: v for at, v in samples.items() if ms(5) <= at <= ms(45)})
               for labels, samples in begun_before(true))  # fmt: skip
    assert report_of(answers).findings == []


@pytest.mark.parametrize(
    ("job", "line"),
    [
        ("load-generator", "generator-1 (load-generator): was never up in this window"),
        ("simulated-vendors", "vendor-pod-1 (simulated-vendors): was never up in this window"),
        ("sidecars", "generator-1: its sidecar is not scraped"),
    ],
)
def test_a_target_that_was_never_up_is_a_finding(job, line):
    """Prometheus knows that it should be there. A pod that only just begins is none."""
    one, other = (play(History(), random.Random(n), per_second=10) for n in (1, 2))
    new = {"__name__": "up", "job": "simulated-vendors", "namespace": "crawlers", "pod": "new"}
    answers = [*one.answers_as(0), (new, {ms(58.7): 0.0, ms(59.7): 0.0})]
    assert report_of(answers).findings == []
    assert f"{line}: not compared" in report_of(
        [*answers, *failing(other.answers_as(1), job)]
    ).findings  # fmt: skip


def test_a_vendor_without_a_comparable_scrape_is_a_finding():
    """Else its column would be the generator's own."""
    true = play(History(), random.Random(1), per_second=20)
    answers = read_only(begun_before(true), "simulated-vendors", 59, 60)
    assert report_of(answers).findings == [
        f"{vendor}: no moment at which its books and all generators' were read"
        for vendor in ("vendor-a", "vendor-b")
    ]


# --- Bytes on the wire ----------------------------------------------------------------------

WIRE = (
    ("sidecar", "envoy_cluster_upstream_cx_tx_bytes_total", (("proxy_vendor", "vendor-a"),)),
    ("vendor", "vendor_wire_bytes_total", (("direction", "received"), ("vendor", "vendor-a"))),
)


def with_bytes(history):
    """Add a kilobyte a second that both ends of a connection saw."""
    for at in range(1, 50):
        for process, metric, labels in WIRE:
            history.bookings.append(Booking(process, at + 0.5, metric, labels, amount=1000))
    return history


def test_a_sidecar_that_was_first_scraped_late_did_not_begin_then():
    """Its counters are those of all its life: no bytes appeared out of nothing."""
    answers = []
    for number in (0, 1):
        books = with_bytes(play(History(), random.Random(number), per_second=10))
        own = begun_before(books, number)
        answers += read_only(own, "sidecars", 30, 60) if number else own
    found = report_of(answers)
    assert found.comparison.byte_rows
    assert not [one for one in found.comparison.byte_rows if one.unexplained]
    assert {line.split(":")[0] for line in found.findings} == {"generator-1"}


def test_too_many_explained_bytes_are_a_finding_as_counts_are():
    """The sidecar forgot the 1,000 it had counted since its last scrape, less the tolerance."""
    true = with_bytes(History(downs=[("sidecar", 30.6, 30.7)]))
    (line,) = report(true).findings
    assert line.startswith("stopped processes lost 951 of 49000 wire bytes (1.94%)")
    assert report(true, stops=[stop("sidecar")]).findings == []
