"""A vendor's bill by each of its rules is to the byte what its client saw."""

from __future__ import annotations

import pytest

from money.results import LOST, RESULT_OF
from simulation.proxy.books import REFUSED_OR_FAILED
from tests.simulation.vendor_process import VendorProcess, for_all_tests

HEAD = b"GET http://site.sim.test/p/500 HTTP/1.1\r\nHost: site.sim.test\r\n"
LOGIN = b"Proxy-Authorization: Basic Y3Jhd2xlcjpodXNo\r\n"
CONNECT = b"CONNECT site.sim.test:443 HTTP/1.1\r\nHost: site.sim.test:443\r\n" + LOGIN + b"\r\n"
INSIDE = b"GET /p/700 HTTP/1.1\r\nHost: site.sim.test\r\n\r\n"
NAMES = ("plain", "tunnel", "refused", "mixed", "socks", "open", "cut")
vendors = for_all_tests({name: {} for name in NAMES})


def bills(vendors: VendorProcess, name: str, *, settled: bool = True) -> dict[str, int]:
    rows = vendors.books(name, settled=settled)["bills"]
    return {row["counts"]: row["count"] for row in rows}


def head_and_body(client) -> int:
    """Read an answer; return its size on the wire."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.socket.recv(1)
    length = head.lower().partition(b"content-length:")[2].split()
    size = int(length[0]) if length else 0
    assert len(client.receive(size)) == size
    return len(head) + size


def test_a_plain_request_is_billed_without_what_is_for_the_proxy(vendors):
    """The site gets neither the credentials nor its own name in the first line."""
    with vendors.client("plain") as client:
        client.send(HEAD + LOGIN + b"\r\n")
        answer = head_and_body(client)
    wire = len(HEAD + LOGIN + b"\r\n") + answer
    assert bills(vendors, "plain") == {
        "wire": wire,
        "target": wire - len(LOGIN) - len(b"http://site.sim.test"),
        "delivered": wire,
    }


def test_a_tunnel_is_billed_without_its_connect(vendors):
    """What is inside goes to the site and comes from it."""
    with vendors.client("tunnel") as client:
        client.send(CONNECT)
        established = head_and_body(client)
        client.send(INSIDE)
        inside = len(INSIDE) + head_and_body(client)
    wire = len(CONNECT) + established + inside
    assert bills(vendors, "tunnel") == {"wire": wire, "target": inside, "delivered": wire}


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_refusal_of_the_vendor_is_neither_the_sites_nor_billed_where_failures_are_free(
    vendors, method
):
    """The vendor answered: no byte reached a site."""
    before = bills(vendors, "refused")
    with vendors.client("refused") as client:
        host = b"fault-vendor-error.sim.test"
        target = host + b":443" if method == "CONNECT" else b"http://" + host + b"/"
        sent = b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method.encode(), target, host)
        client.send(sent)
        wire = len(sent) + head_and_body(client)
    found = bills(vendors, "refused")
    assert {rule: found[rule] - before.get(rule, 0) for rule in found} == {
        "wire": wire,
        "target": 0,
        "delivered": 0,
    }


def test_each_request_of_a_connection_is_billed_by_its_own_outcome(vendors):
    """A refusal between two pages is free, whether they were sent one by one or at once."""
    page = HEAD + b"\r\n"
    refusal = b"GET http://fault-blocked.sim.test/ HTTP/1.1\r\nHost: x\r\n\r\n"
    pages = answers = 0
    with vendors.client("mixed") as client:
        for together in (False, True):
            if together:
                client.send(page + refusal + page)
            for said in (page, refusal, page):
                if not together:
                    client.send(said)
                size = head_and_body(client)
                answers += len(said) + size
                pages += (len(said) + size) * (said == page)
    found = bills(vendors, "mixed")
    assert (found["wire"], found["delivered"]) == (answers, pages)


def test_socks_is_billed_without_its_handshake(vendors):
    """Greeting and reply are the proxy's; the rest is the site's."""
    with vendors.client("socks") as client:
        assert client.socks()[1] == 0
        client.send(INSIDE)
        inside = len(INSIDE) + head_and_body(client)
    found = bills(vendors, "socks")
    assert (found["target"], found["wire"]) == (inside, found["delivered"])
    assert found["wire"] > inside


def test_an_open_tunnel_is_on_the_bill_already(vendors):
    """Who pulls the books while crawlers work sees what has passed."""
    with vendors.client("open") as client:
        client.send(CONNECT)
        established = head_and_body(client)
        client.send(INSIDE)
        inside = len(INSIDE) + head_and_body(client)
        found = bills(vendors, "open", settled=False)
        assert found["wire"] == len(CONNECT) + established + inside
        assert found["target"] == inside


def test_an_answer_cut_short_has_failed(vendors):
    """Its bytes came from the site, and a vendor that leaves failures free does not bill them."""
    with vendors.client("cut") as client:
        client.send(b"GET http://fault-close-inside.sim.test/p/500 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.rest()
    found = bills(vendors, "cut")
    assert found["delivered"] == 0
    assert found["target"] > 0


def test_the_vendor_and_the_ledger_call_the_same_outcomes_lost():
    """Else a bill would differ by what one of them calls a failure."""
    assert {one for one, its in RESULT_OF.items() if its in LOST} == REFUSED_OR_FAILED
