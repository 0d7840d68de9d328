"""Who gets a connection where the address alone does not say it: ports, IPv6, no inspection."""

from __future__ import annotations

import socket

import pytest

from tests.lab.conftest import until
from tests.lab.scripted import ask, vendor

GATEWAY = "127.6.0.10"  # vendor-f has one port there, vendor-g ten others
SOCKS = b"\x05\x01\x00"
PLAIN = b"GET http://shop.test/a/../b//c?%2F HTTP/1.1\r\nHost: shop.test\r\nX-oWn: 1\r\n\r\n"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def passes(address, port, upstream, sent, answer=OK, at="") -> bytes:
    """Return what the vendor gets of `sent`; the crawler must get the end of `answer`.

    The vendor is at the address that the crawler connects to, if `at` names no other.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server((at or address, upstream), family=family) as server,
        socket.create_connection((address, port), timeout=10) as crawler,
    ):
        crawler.sendall(sent)
        accepted, _ = server.accept()
        with accepted:
            received = accepted.recv(4096)
            accepted.sendall(answer)
            assert crawler.recv(4096).endswith(answer[-2:])
    return received


def passthrough_connections(sidecar) -> int:
    return sidecar.counter("envoy_cluster_upstream_cx_total", cluster_name="PassthroughCluster")


def test_the_port_decides_between_vendors_on_one_address(shared_sidecar):
    """Two vendors behind one gateway: each gets its own requests, on its own cluster."""
    ports, before = shared_sidecar.ports, shared_sidecar.requests()

    def counted_since(before):
        return shared_sidecar.requests() - before

    for name, port in (("vendor-f", ports.vendor), ("vendor-g", ports.moved(3140))):
        answer = f"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{name}"
        with vendor(GATEWAY, ports.upstream_of(port), answer):
            assert ask(GATEWAY, port).endswith(name)
            tunnel = "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n"
            assert ask(GATEWAY, port, tunnel).startswith("HTTP/1.1 200 ")

        expected = {(name, "http", "success", "200"): 1, (name, "tunnel", "success", "200"): 1}
        until(lambda before=before, expected=expected: counted_since(before) == expected)
        before = shared_sidecar.requests()


def test_the_port_decides_for_what_is_not_parsed_too(shared_sidecar):
    """SOCKS5 and TLS to a gateway count for the vendor whose port it is."""
    ports = shared_sidecar.ports
    for name, port in (("vendor-f", ports.vendor), ("vendor-g", ports.moved(3140))):
        before = shared_sidecar.opaque_connections(name)
        upstream = ports.upstream_of(port)
        assert passes(GATEWAY, port, upstream, SOCKS, b"\x05\x00") == SOCKS
        until(
            lambda name=name, before=before: shared_sidecar.opaque_connections(name) == before + 1
        )


@pytest.mark.parametrize("data", [PLAIN, SOCKS], ids=["http", "socks5"])
def test_a_port_of_no_vendor_at_a_shared_address_is_outside(shared_sidecar, data):
    """It reaches the server as it was sent, counts as passthrough, and as no vendor's."""
    ports, before = shared_sidecar.ports, passthrough_connections(shared_sidecar)
    requests = shared_sidecar.requests()
    assert passes(GATEWAY, ports.nobodys, ports.outside_upstream, data) == data
    until(lambda: passthrough_connections(shared_sidecar) == before + 1)
    assert not [key for key in shared_sidecar.requests() - requests if key[0]]


def test_an_ipv6_vendor_is_named_as_any_other(shared_sidecar):
    """The same chain match, the same Lua, over IPv6."""
    ports = shared_sidecar.ports
    before = shared_sidecar.requests()
    received = passes("::1", ports.vendor, ports.vendor_upstream, PLAIN)
    assert received.startswith(b"GET http://shop.test/")
    expected = {("vendor-h", "http", "success", "200"): 1}
    until(lambda: shared_sidecar.requests() - before == expected)
    assert shared_sidecar.counter("envoy_http_lua_errors") == 0


def test_nothing_is_looked_into_where_the_stack_says_connections(shared_sidecar):
    """HTTP to such a vendor stays as it is, down to what Envoy would refuse, and is opaque."""
    ports = shared_sidecar.ports
    before = shared_sidecar.opaque_connections("vendor-i")
    odd = b"GET http://under_score.test/#top HTTP/1.1\r\nhost:x\r\nConnection: close\r\n\r\n"
    assert passes("127.7.0.10", ports.vendor, ports.vendor_upstream, odd) == odd
    until(lambda: shared_sidecar.opaque_connections("vendor-i") == before + 1)
    assert not [key for key in shared_sidecar.requests() if key[0] == "vendor-i"]


def test_requests_to_a_target_group_carry_its_name(shared_sidecar):
    """Two sites are `shops` in the lab's stack; any other is `other`."""
    ports = shared_sidecar.ports
    before = shared_sidecar.by("proxy_target")
    with vendor("127.1.0.10", ports.vendor_upstream):
        for host in ("site-1.sim.test", "SITE-2.sim.test:80", "site-3.sim.test"):
            request = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
            assert ask("127.1.0.10", ports.vendor, request).endswith("ok")
    expected = {("shops",): 2, ("other",): 1}
    until(lambda: shared_sidecar.by("proxy_target") - before == expected)
