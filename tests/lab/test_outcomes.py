"""The outcome and the code that Envoy counts for each answer."""

from __future__ import annotations

import pytest

from tests.lab.conftest import until
from tests.lab.scripted import GOOD, ask, vendor

STATUSES = [
    (200, "200", "success"),
    (226, "2xx", "success"),
    (299, "2xx", "success"),
    (302, "302", "success"),
    (399, "3xx", "success"),
    (402, "402", "quota_exhausted"),
    (403, "403", "blocked"),
    (404, "404", "target_error"),
    (407, "407", "auth_challenge"),
    (418, "4xx", "target_error"),
    (429, "429", "rate_limited"),
    (451, "451", "blocked"),
    (502, "502", "target_error"),
    (599, "5xx", "target_error"),
    (777, "other", "target_error"),
]


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_every_answer_has_its_code_and_outcome(sidecar, method):
    """The table of outcomes, read by Envoy itself, for a plain request and for a tunnel."""
    ports = sidecar.ports
    target = "http://shop.test/" if method == "GET" else "shop.test:443"
    request = f"{method} {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n"
    tunnel = method == "CONNECT"
    expected = {}
    with vendor("127.1.0.10", ports.vendor_upstream) as scripted:
        for status, code, outcome in STATUSES:
            if tunnel and status == 200:
                continue  # a tunnel: tested with the traffic of the demo
            if tunnel and outcome in ("success", "target_error"):
                outcome = "success" if status < 300 else "vendor_error"
            key = ("vendor-a", "tunnel" if tunnel else "http", outcome, code)
            expected[key] = expected.get(key, 0) + 1
            scripted.answer = f"HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n"
            assert f" {status} " in ask("127.1.0.10", ports.vendor, request)
    until(lambda: sidecar.requests() == expected or None, seconds=10)


@pytest.mark.parametrize(("status", "outcome"), [(403, "blocked"), (502, "vendor_error")])
def test_a_refused_connect_counts_by_its_status_though_the_vendor_hangs_up(
    sidecar, status, outcome
):
    """Many proxies refuse without a length and close at once: Envoy calls that a reset."""
    ports = sidecar.ports
    request = "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n"
    with vendor("127.1.0.10", ports.vendor_upstream, f"HTTP/1.1 {status} No\r\n\r\n"):
        for _ in range(20):
            ask("127.1.0.10", ports.vendor, request)
    assert sidecar.requests() == {("vendor-a", "tunnel", outcome, str(status)): 20}


UPGRADE = (
    "GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)
SWITCHED = "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.parametrize(("answer", "code"), [(SWITCHED, "1xx"), (GOOD, "200")])
def test_a_websocket_is_a_success_however_it_ends(sidecar, answer, code):
    """The vendor that closes a websocket, or answers it with a page, has not failed."""
    ports = sidecar.ports
    with vendor("127.1.0.10", ports.vendor_upstream, answer):
        ask("127.1.0.10", ports.vendor, UPGRADE)
        until(sidecar.requests)
    assert list(sidecar.requests()) == [("vendor-a", "http", "success", code)]


def test_an_interim_answer_is_no_answer(sidecar):
    """A crawler that leaves after `100 Continue` was not served."""
    ports = sidecar.ports
    request = "POST http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nok"
    # The word keeps the scripted vendor from hanging up.
    with vendor("127.1.0.10", ports.vendor_upstream, "HTTP/1.1 100 Content-Length\r\n\r\n"):
        assert " 100 " in ask("127.1.0.10", ports.vendor, request)
        until(sidecar.requests)
    ((vendor_name, _, outcome, _),) = sidecar.requests()
    assert (vendor_name, outcome) == ("vendor-a", "client_cancelled")


@pytest.mark.parametrize(
    ("header", "request_header", "status", "outcome"),
    [
        ("Proxy-Status: sim; error=dns_error\r\n", "", 502, "vendor_error"),
        ("", "Proxy-Authorization: Basic eDp5\r\n", 407, "auth_failed"),
        ("", "", 407, "auth_challenge"),
    ],
)
def test_headers_decide_between_vendor_and_target(sidecar, header, request_header, status, outcome):
    """A 5xx is the vendor's if it says so; a 407 is a failure only to credentials."""
    ports = sidecar.ports
    answer = f"HTTP/1.1 {status} Word\r\n{header}Content-Length: 0\r\n\r\n"
    request = f"GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n{request_header}\r\n"
    with vendor("127.1.0.10", ports.vendor_upstream, answer):
        ask("127.1.0.10", ports.vendor, request)
    assert list(sidecar.requests()) == [("vendor-a", "http", outcome, str(status))]


def test_a_vendor_that_nobody_answers_for_is_connect_failed(sidecar):
    """Envoy's 503 stands for the refused connection; no set-up time is recorded for it."""
    ports = sidecar.ports
    assert " 503 " in ask("127.1.0.99", ports.vendor)
    assert sidecar.requests() == {("vendor-a", "http", "connect_failed", "503"): 1}
    # Envoy adds histograms to its output once they were flushed; look for the label set alone.
    assert 'proxy_setup_milliseconds_count{proxy_vendor="vendor-a"' not in sidecar.stats()


def test_what_envoy_refuses_itself_is_not_the_vendors_fault(sidecar):
    """A request that Envoy answers with 400 never reached the vendor: `rejected`."""
    ports = sidecar.ports
    request = "GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nContent-Length: x\r\n\r\n"
    assert " 400 " in ask("127.1.0.10", ports.vendor, request)
    ((vendor_name, _, outcome, _),) = sidecar.requests()
    assert (vendor_name, outcome) == ("vendor-a", "rejected")
