"""docs/limits.md, line by line: what Envoy answers itself, and whom the counters blame."""

from __future__ import annotations

import pytest

from tests.lab.conftest import until
from tests.lab.scripted import ask, vendor

HOST = "Host: shop.test\r\n"
REFUSED = [
    ("GET http://my_shop.test/ HTTP/1.1", "Host: my_shop.test\r\n", 400),
    ("CONNECT my_shop.test:443 HTTP/1.1", "Host: my_shop.test:443\r\n", 400),
    ("GET ftp://shop.test/ HTTP/1.1", HOST, 400),
    ("GET http://shop.test?x=1 HTTP/1.1", HOST, 404),
    ("OPTIONS * HTTP/1.1", HOST, 404),
    ("QUERY http://shop.test/ HTTP/1.1", HOST, 400),
    ("CONNECT shop.test HTTP/1.1", HOST, 400),
    ("POST http://shop.test/ HTTP/1.1", HOST + "Transfer-Encoding: gzip\r\n", 501),
    ("GET http://shop.test/ HTTP/1.1", HOST + "X A: 1\r\n", 400),
    ("GET http://shop.test/ HTTP/1.1", HOST + "Content-Length: 1\r\nContent-Length: 2\r\n", 400),
    ("GET http://shop.test/ HTTP/1.1", HOST + "Content-Length: x\r\n", 400),
]
LENGTH = "Content-Length: 2\r\n"
NOT_TAKEN = [  # status and headers of an answer
    ("200 OK", LENGTH + LENGTH),
    ("200 OK", "Transfer-Encoding: identity\r\n"),
    ("200 OK", "Transfer-Encoding: gzip, chunked\r\n"),
    ("204 No Content", "Transfer-Encoding: chunked\r\n"),
    ("200 OK", LENGTH + "a line without its colon\r\n"),
    ("200 OK", LENGTH + "X-A: \x01\r\n"),
]
CARRIED = [
    ("QUERY http://shop.test/ HTTP/1.1", HOST + "Content-Type: text/plain\r\n"),
    ("BREW http://shop.test/ HTTP/1.1", HOST),
    ("GET http://shop.test/../a//b?c?d=%zz HTTP/1.1", HOST),
    ("GET http://shop.test/[0]={x}|^` HTTP/1.1", HOST),
    ("GET http://shop.test/ HTTP/1.1", HOST + f"X-Big: {'v' * 65_536}\r\n"),
    ("GET http://shop.test/ HTTP/1.1", HOST + "".join(f"X-{n}: {n}\r\n" for n in range(900))),
]


@pytest.mark.parametrize(("line", "headers", "status"), REFUSED)
def test_what_envoy_refuses_is_rejected_and_reaches_nobody(shared_sidecar, line, headers, status):
    """A crawler that meets this finds it documented, and the vendor's failure ratio unmoved."""
    ports, before = shared_sidecar.ports, shared_sidecar.requests()
    with vendor("127.1.0.10", ports.vendor_upstream) as scripted:
        answer = ask("127.1.0.10", ports.vendor, f"{line}\r\n{headers}\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert scripted.seen == []
    counted = until(lambda: shared_sidecar.requests() - before)
    assert [(key[0], key[2]) for key in counted.elements()] == [("vendor-a", "rejected")]


@pytest.mark.parametrize(("line", "headers"), CARRIED)
def test_what_is_odd_but_carried(shared_sidecar, line, headers):
    """Envoy's defaults would refuse most of these; the rendered settings do not."""
    ports = shared_sidecar.ports
    with vendor("127.1.0.10", ports.vendor_upstream) as scripted:
        assert ask("127.1.0.10", ports.vendor, f"{line}\r\n{headers}\r\n").endswith("ok")
    # Envoy adds `content-length: 0` where a method might have had a body.
    assert (
        scripted.seen[0].replace(b"content-length: 0\r\n", b"")
        == f"{line}\r\n{headers}\r\n".encode()
    )


def test_an_answer_that_envoy_does_not_take_is_a_502_and_the_vendors_reset(sidecar):
    """The crawler gets none of it, and the vendor is blamed for what a target sent."""
    ports = sidecar.ports
    with vendor("127.1.0.10", ports.vendor_upstream) as scripted:
        for status, headers in NOT_TAKEN:
            scripted.answer = f"HTTP/1.1 {status}\r\n{headers}\r\nok"
            answer = ask("127.1.0.10", ports.vendor)
            assert answer.startswith("HTTP/1.1 502 Bad Gateway\r\n"), headers
            assert answer.endswith("reset reason: protocol error"), headers
    assert sidecar.requests() == {("vendor-a", "http", "reset", "502"): len(NOT_TAKEN)}
