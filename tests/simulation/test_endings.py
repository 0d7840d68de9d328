"""How a run ends: counts in flight, numbers that stay to be scraped, and a sidecar that is gone."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import time
import urllib.request
from typing import Any

import pytest

from tests.simulation.conftest import OK, WAIT_SECONDS, answering, page_with, saying


def counts(books: dict[str, Any]) -> dict[str, int]:
    return {row["outcome"]: row["count"] for row in books["counts"]}


@pytest.fixture
def slow(vendors: Any) -> dict[str, Any]:
    """A plan whose four counts at a time stay in flight for 5.5 s."""
    vendor = {**vendors.vendors[0], "faults": {"slow": 1}}
    return dict(
        vendors.plan(concurrency=4, vendors=[vendor], mix={"http": 1}, timeout_after_seconds=5.0)
    )


def test_drain_is_as_long_as_the_plan_says(vendors: Any, slow: Any) -> None:
    """Counts that are left then are the crawler's cancellations; later they would be time-outs."""
    crawler = vendors.start_crawler({**slow, "drain_seconds": 0.2}, "--json")
    vendors.wait_for(4)
    since = time.monotonic()
    crawler.terminate()
    books = json.loads(crawler.communicate(timeout=WAIT_SECONDS)[0])
    assert time.monotonic() - since >= 0.2
    assert counts(books) == {"client_cancelled": 4}
    assert books["unexpected_reasons"] == [{"vendor": "vendor-a", "reason": "timeout", "count": 4}]


def test_second_signal_ends_the_drain(vendors: Any, slow: Any) -> None:
    """A second Ctrl-C ends the run at once, with the result so far."""
    crawler = vendors.start_crawler({**slow, "drain_seconds": 60}, "--json")
    vendors.wait_for(4)
    crawler.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        crawler.wait(timeout=0.3)
    crawler.terminate()
    books = json.loads(crawler.communicate(timeout=WAIT_SECONDS)[0])
    assert (counts(books), books["partial"]) == ({"client_cancelled": 4}, True)


@pytest.mark.parametrize("count", [20, None])
def test_last_numbers_stay_to_be_scraped(vendors: Any, count: int | None) -> None:
    """The pages stay after the run until another signal; the result is printed before."""
    port = vendors.outside["port"]
    plan = vendors.plan(count=count, metrics_port=port, linger_seconds=30)
    crawler = vendors.start_crawler(plan, "--json")
    url = f"http://127.0.0.1:{port}/metrics"
    if count is None:
        page_with(url, 'outcome="success"')
        crawler.terminate()
    page = page_with(url, "\ncrawler_ended 1\n")
    books = json.loads(crawler.stdout.readline())
    crawler.terminate()
    assert crawler.communicate(timeout=WAIT_SECONDS) == ("", "")
    seen = sum(
        int(line.rsplit(" ")[-1])
        for line in page.splitlines()
        if line.startswith(("crawler_requests_total{", "crawler_connections_total{"))
    )
    assert (seen, crawler.returncode) == (books["attempts"], 0)
    assert f"\ncrawler_planned_requests_total {books['requests']}\n" in page
    assert f"\nprocess_start_time_seconds {books['started_seconds']}" in page


def test_linger_ends_by_itself(vendors: Any) -> None:
    """The pages end after `linger_seconds`, so a Job ends."""
    port = vendors.outside["port"]
    plan = vendors.plan(count=5, metrics_port=port, linger_seconds=0.3)
    crawler = vendors.start_crawler(plan, "--json")
    crawler.communicate(timeout=WAIT_SECONDS)
    assert crawler.returncode == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")


def test_sidecar_that_is_gone_is_not_hammered_and_found_again(vendors: Any) -> None:
    """The crawler tries once a second instead of thousands of times, and goes on by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
    vendor = {"name": "gone", "address": place[0], "port": place[1]}
    port = vendors.outside["port"]
    crawler = vendors.start_crawler(
        vendors.plan(
            count=None, vendors=[vendor], mix={"http": 1}, concurrency=4, metrics_port=port
        ),
        "--json",
    )
    page_with(f"http://127.0.0.1:{port}/metrics", 'reason="refused"} 1')  # or 10, or 11
    closing = OK[:-2] + b"Connection: close\r\n\r\n"
    with answering(saying(closing), place):
        page_with(f"http://127.0.0.1:{port}/metrics", 'outcome="success"}')
        crawler.terminate()
        books = json.loads(crawler.communicate(timeout=WAIT_SECONDS)[0])
    [reason] = books["unexpected_reasons"]
    assert (reason["vendor"], reason["reason"]) == ("gone", "refused")
    # Eight until the pause, what was on its way then, and one for each pause.
    seconds = books["ended_seconds"] - books["started_seconds"]
    assert counts(books)["connect_failed"] == reason["count"] <= 8 + 4 + 5 + seconds


def test_files_that_run_out_are_told_with_what_helps(vendors: Any) -> None:
    """The note says that this machine is out of files, and blames no vendor."""
    plan = vendors.plan(count=None, requests_per_second=100, mix={"tunnel": 1})
    crawler = vendors.start_crawler(plan, "--json")
    vendors.wait_for(4)
    resource.prlimit(crawler.pid, resource.RLIMIT_NOFILE, (3, 3))
    time.sleep(0.3)
    crawler.terminate()
    books = json.loads(crawler.communicate(timeout=WAIT_SECONDS)[0])
    notes = [note for note in books["notes"] if "Too many open files" in note]
    assert notes
    assert all(
        note.endswith(" times: this machine has no more: raise `ulimit -n`, or give less in flight")
        for note in notes
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--count", "1000"),
        ("--count", "100000", "--rate", "50"),
        ("--seconds", "600", "--rate", "50"),
    ],
)
def test_run_that_reaches_no_vendor_ends(vendors: Any, run_program: Any, options: Any) -> None:
    """Soon, with exit code 2 and the reason, and not after as many pauses as counts; at a rate
    too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"gone=127.0.0.1:{listener.getsockname()[1]}"
    done = run_program("crawler", "--vendor", place, *options)
    assert (done.returncode, done.stderr) == (2, "")
    notes = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if "note " in line]
    assert notes[0].startswith("no vendor could be reached: ended after ")
    assert notes[1].startswith(f"gone: {place[5:]}: Connection refused, ")
