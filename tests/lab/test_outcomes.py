"""The outcome and the code that Envoy counts for each answer."""

from __future__ import annotations

import pytest

from tests.lab.conftest import until
from tests.lab.scripted import GOOD, PLAIN, ask, vendor

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


UPGRADE = PLAIN.replace("\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
SWITCHED = "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
LOGIN = PLAIN.replace("\r\n\r\n", "\r\nProxy-Authorization: Basic eDp5\r\n\r\n")
POST = "POST http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nok"
NO_LOGIN = "HTTP/1.1 407 Word\r\nContent-Length: 0\r\n\r\n"
OWN_ERROR = NO_LOGIN.replace("407 Word", "502 Word\r\nProxy-Status: sim; error=dns_error")
# The word keeps the scripted vendor from hanging up.
INTERIM = "HTTP/1.1 100 Content-Length\r\n\r\n"


@pytest.mark.parametrize(
    ("request_text", "answer", "outcome", "code"),
    [
        pytest.param(PLAIN, OWN_ERROR, "vendor_error", "502", id="a 5xx that names the proxy"),
        pytest.param(LOGIN, NO_LOGIN, "auth_failed", "407", id="a 407 to credentials"),
        pytest.param(PLAIN, NO_LOGIN, "auth_challenge", "407", id="a 407 without credentials"),
        # The vendor that closes a websocket, or answers it with a page, has not failed.
        pytest.param(UPGRADE, SWITCHED, "success", "1xx", id="a websocket"),
        pytest.param(UPGRADE, GOOD, "success", "200", id="a page instead of a websocket"),
        # A crawler that leaves after `100 Continue` was not served.
        pytest.param(POST, INTERIM, "client_cancelled", "1xx", id="no answer but an interim one"),
    ],
)
def test_what_an_answer_counts_as(sidecar, request_text, answer, outcome, code):
    """Headers, and what came before the end, decide where the status alone does not."""
    with vendor("127.1.0.10", sidecar.ports.vendor_upstream, answer):
        ask("127.1.0.10", sidecar.ports.vendor, request_text)
        until(sidecar.requests)
    ((*counted, counted_code),) = sidecar.requests()
    assert counted == ["vendor-a", "http", outcome]
    assert counted_code == code


def test_a_vendor_that_nobody_answers_for_is_connect_failed(sidecar):
    """Envoy's 503 stands for the refused connection; no set-up time is recorded for it."""
    ports = sidecar.ports
    assert " 503 " in ask("127.1.0.99", ports.vendor)
    assert sidecar.requests() == {("vendor-a", "http", "connect_failed", "503"): 1}
    # Envoy adds histograms to its output once they were flushed; look for the label set alone.
    assert 'proxy_setup_milliseconds_count{proxy_vendor="vendor-a"' not in sidecar.stats()
