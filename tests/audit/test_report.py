"""Which pod belongs to which, what is a finding, and what is excused."""

from __future__ import annotations

import random

import pytest

from audit.__main__ import audited
from audit.books import NothingToAuditError, parties, quiet_scrapes
from audit.ledger import audit
from audit.report import MOST_EXPLAINED, Report, Stop
from audit.series import target
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


def test_late_first_bytes_are_named():
    """A crawler that stalls between connecting and asking is taken for opaque, with all it asks
    on that connection."""
    true = play(History(), random.Random(1), per_second=5)
    series = row("sidecar", "vendor-a", "http", "success")
    asked = [one for one in true.bookings if (one.metric, one.labels) == series][:2]
    for one in asked:
        true.bookings.remove(one)
    labels = (("proxy_vendor", "vendor-a"),)
    metric = "istio_tcp_connections_opened_total"
    true.bookings.append(Booking("sidecar", asked[-1].at, metric, labels))
    found = report(true).findings
    assert "2 unexplained (seen as opaque: first bytes came later than Envoy waits" in found[0]
    assert "1 unexplained (from http or tunnel: first bytes came later" in found[1]


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


@pytest.mark.parametrize("what", ["timeout", "client_cancelled"])
def test_a_crawler_may_leave_as_the_vendor_dies(what):
    """Its sidecar saw the end first, and calls it a reset: so it may at that moment alone."""
    true = play(History(downs=[("vendor", 30.0, 33.0)]), random.Random(4), per_second=40)
    stop = Stop(name="vendor", kind="vendor", after=START + 30, before=START + 33)
    own = [one for one in true.bookings if one.process == "generator"]
    cut = next(one for one in own if one.at == 30.002 and "unexpected" in str(one.labels))
    cut.labels = tuple((k, what if k == "outcome" else v) for k, v in cut.labels)
    assert report(true, stops=[stop]).findings == []

    other = next(one for one in own if one.at > 45 and "reset" in str(one.labels))
    other.labels = tuple((k, what if k == "outcome" else v) for k, v in other.labels)
    assert len(report(true, stops=[stop]).findings) == 2


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


# --- silence is not consent -----------------------------------------------------------------


def read_only(answers, job, first, last):
    """Leave a job's targets the scrapes of a part of the window: nobody was there to read them."""
    for labels, samples in answers:
        if labels["job"] == job:
            kept = {at: v for at, v in samples.items() if ms(first) <= at <= ms(last)}
            yield labels, kept
        else:
            yield labels, samples


def failing(answers, job):
    """All scrapes of a job's targets fail."""
    for labels, samples in answers:
        if labels["job"] != job:
            yield labels, samples
        elif labels["__name__"] == "up":
            yield labels, dict.fromkeys(samples, 0.0)


def report_of(answers):
    return Report(audit=audit(parties(answers, begun=START - 1)), gaps=[])


def begun_before(history, number=0):
    """A pod of a cluster, and a vendor, whose processes began before the window."""
    for labels, samples in history.answers_as(number):
        if labels["__name__"] == "process_start_time_seconds":
            yield labels, dict.fromkeys(samples, START - 100)
        else:
            yield labels, samples


@pytest.mark.parametrize("job", ["sidecars", "load-generator", "simulated-vendors"])
@pytest.mark.parametrize("span", [(0, 5), (45, 60), (20, 30)])
def test_counts_of_a_time_in_which_one_book_was_not_read_are_a_finding(job, span):
    """Else the generator's column is what the mesh saw, and what it did not see is invisible."""
    true = play(History(), random.Random(1), per_second=20)
    whole = report_of(begun_before(true))
    assert whole.findings == []
    found = report_of(read_only(begun_before(true), job, *span))
    assert found.findings
    if job == "load-generator":  # the others' books have too much, once it has ended
        return
    assert found.audit.unexplained == 0
    assert all("counts are not compared" in line for line in found.findings)
    names = {"sidecars": {"generator-0"}, "simulated-vendors": {"vendor-a", "vendor-b"}}
    assert {line.split(",")[0] for line in found.findings} == names[job]
    if job == "sidecars":
        missing = whole.audit.counts - found.audit.counts
        told = sum(one.counts for one in found.audit.uncompared if one.book == "mesh")
        assert 0.8 * missing < told <= missing  # as much as is certain


def test_the_windows_edges_are_no_silence():
    """Each book's last scrape is another moment; counts go on, and nothing is withheld."""
    true = play(History(), random.Random(1), per_second=200)
    answers = [
        (labels, {at: v for at, v in samples.items() if ms(5) <= at <= ms(45)})
        for labels, samples in begun_before(true)
    ]
    found = report_of(answers)
    assert found.findings == []
    assert found.audit.uncompared == []


@pytest.mark.parametrize(
    ("job", "line"),
    [
        ("load-generator", "generator-1 (load-generator): was never up in this window"),
        ("simulated-vendors", "vendor-pod-1 (simulated-vendors): was never up in this window"),
        ("sidecars", "generator-1: its sidecar is not scraped"),
    ],
)
def test_a_target_that_was_never_up_is_a_finding(job, line):
    """Prometheus knows that it should be there; its books are missing."""
    one, other = (play(History(), random.Random(n), per_second=10) for n in (1, 2))
    answers = [*one.answers_as(0), *failing(other.answers_as(1), job)]
    assert f"{line}: not audited" in report_of(answers).findings


def test_a_pod_that_only_begins_or_ends_at_the_windows_edge_is_not_missing():
    """Its first scrapes fail, or its last."""
    true = play(History(), random.Random(1), per_second=10)
    up, _ = scraped("simulated-vendors", "new")
    answers = [*true.answers_as(0), (up, {ms(58.7): 0.0, ms(59.7): 0.0})]
    assert report_of(answers).findings == []


def test_a_vendor_without_a_comparable_scrape_is_a_finding():
    """Else its column would be the generator's own."""
    true = play(History(), random.Random(1), per_second=20)
    answers = read_only(begun_before(true), "simulated-vendors", 59, 60)
    assert report_of(answers).findings == [
        f"{vendor}: no moment at which its books and all generators' were read"
        for vendor in ("vendor-a", "vendor-b")
    ]


def test_a_sidecar_that_was_scraped_late_did_not_begin_then():
    """Its counters are of all its life: no bytes appeared out of nothing."""
    answers = []
    for number in (0, 1):
        books = with_bytes(play(History(), random.Random(number), per_second=10))
        own = [*begun_before(books, number)]
        answers += read_only(own, "sidecars", 30, 60) if number else own
    found = report_of(answers)
    assert found.audit.byte_lines
    assert not [line for line in found.audit.byte_lines if line.unexplained]
    assert [line.split(",")[0] for line in found.findings] == ["generator-1"]


WIRE = (
    ("sidecar", "envoy_cluster_upstream_cx_tx_bytes_total", (("proxy_vendor", "vendor-a"),)),
    ("vendor", "vendor_wire_bytes_total", (("direction", "received"), ("vendor", "vendor-a"))),
)


def with_bytes(history, *, until=50):
    """A kilobyte a second that both ends of a connection saw."""
    for at in range(1, until):
        for process, metric, labels in WIRE:
            history.bookings.append(Booking(process, at + 0.5, metric, labels, amount=1000))
    return history


def test_too_many_explained_bytes_are_a_finding_as_counts_are():
    """A restart excuses no more of them."""
    true = with_bytes(History(downs=[("sidecar", 30.6, 30.7)]))
    (line,) = report(true).findings
    # The 1000 that it had counted since its last scrape, but for the tolerance.
    assert line == "explained differences: 951 of 49000 wire bytes, 1.94%, are more than 0.1%"
    stop = Stop(name="envoy", kind="sidecar", after=START + 30, before=START + 31)
    assert report(true, stops=[stop]).findings == []


class Growing:
    """A Prometheus in which a scrape is stored 0.9 s after it began, and a question takes time."""

    def __init__(self, history):
        self.answers, self.asked = [*history.answers(tells_start=())], 0

    def raw(self, selector, begin, end):
        self.asked += 1
        name, rest = selector.split("{", 1)
        for labels, samples in self.answers:
            if labels["__name__"] == name and labels["job"] in rest:
                stored = end - 0.9 + 0.05 * self.asked
                kept = {at: v for at, v in samples.items() if at / 1000 <= min(end, stored)}
                if kept:
                    yield labels, kept


@pytest.mark.parametrize("late", [0.0, 0.2, 0.5, 0.8])
def test_a_scrape_that_ends_between_two_questions_accuses_nobody(late):
    """Its counters would be missing in the answers before, as after a restart."""
    true = play(History(), random.Random(1), per_second=40)
    found = audited(Growing(true), START - 1, START + 30 + late, since=0.0, all_from_zero=True)
    assert (found.findings, found.audit.events) == ([], [])
    assert found.audit.counts > 800


def test_one_scrape_of_each_is_no_gap():
    """Nobody knows then how far apart scrapes are."""
    one = target("one", {1000: 0.0}, {})
    assert quiet_scrapes([one, target("other", {9000: 0.0}, {})]) == []


def test_what_one_row_has_too_many_is_not_every_others_loss():
    """One vendor's range is given away, and another's traffic goes round Envoy."""
    true = play(History(), random.Random(1), per_second=20)
    moved = [b for b in true.bookings if (b.metric, b.labels) == row("sidecar", "vendor-a", *SEEN)]
    for one in moved[:20]:
        one.labels = row("sidecar", "vendor-c", *SEEN)[1]
    lost = [b for b in true.bookings if (b.metric, b.labels) == row("sidecar", "vendor-b", *SEEN)]
    for one in lost[:5]:
        true.bookings.remove(one)
    causes = {line.row.vendor: line.cause for line in report(true).audit.lines if line.unexplained}
    assert causes == {
        "vendor-a": "counted as vendor-c",
        "vendor-b": "never seen by Envoy",
        "vendor-c": "from vendor-a",
    }


SEEN = ("http", "success")


def test_wire_bytes_of_open_connections_are_put_down_to_the_time_between_two_reads():
    """The vendors' column is read later, and traffic goes on: said, and no finding."""
    found = report(with_bytes(History(), until=61))
    assert found.findings == []
    [line] = found.audit.byte_lines
    assert line.difference < 0
    assert line.cause == f"read {line.apart_seconds:.1f} s apart, in traffic"
    [first, second] = [text for text in found.lines() if text.startswith("  ")][-2:]
    share = -line.difference / line.vendor_books
    assert f"read up to {line.apart_seconds:.1f} s after the mesh's" in first
    assert f"up to {share:.2%}, no difference" in second
    [row] = found.as_json()["bytes"]
    assert row["cause"] == line.cause


def test_wire_bytes_that_are_equal_are_not_talked_about():
    """Traffic that has ended leaves nothing to say."""
    quiet = History(bookings=[])
    for process, metric, labels in WIRE:
        quiet.bookings.append(Booking(process, 5.0, metric, labels, amount=1000))
    found = report(quiet)
    assert [line.difference for line in found.audit.byte_lines] == [0]
    assert not [line for line in found.lines() if "wire bytes:" in line]
