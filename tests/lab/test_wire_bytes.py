"""A vendor's wire bytes are seen while they flow, and to the byte, whatever crawlers speak."""

from __future__ import annotations

import socket
import time

import pytest

from lab.loopback import get_json, query
from lab.module_bytes import module_bytes
from lab.system import running
from simulation.crawler.tls import tls_context
from tests.lab.conftest import free_ports, until

PROTOCOL_OF = {
    "vendor-a": "http",
    "vendor-b": "tunnel",
    "vendor-c": "tls",
    "vendor-d": "socks5",
}
COUNTS = 1500
UNFLUSHED_BYTES = 64 << 10  # of each direction of each connection
PAGE_BYTES = 1_000_000


@pytest.fixture(scope="module", params=["http", "passive"])
def inspect(request):
    return request.param


@pytest.fixture(scope="module")
def lab(inspect, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab") / "wire"
    with running(
        ports=free_ports(), folder=folder, say=lambda line: None, inspect=inspect
    ) as running_lab:
        yield running_lab


def last_scrape(lab):
    """Seconds since the epoch at which the sidecar was last scraped, 0 before the first."""
    scraped = lab.query('timestamp(up{job="sidecars"})')
    return float(scraped[0]["value"][1]) if scraped else 0.0


def wire_bytes(lab, vendor, at_seconds=None):
    """What Prometheus holds of a vendor's sockets, both ways."""
    samples = query(
        lab.prometheus_url,
        f'sum(envoy_cluster_upstream_cx_tx_bytes_total{{proxy_vendor="{vendor}"}}'
        f' + envoy_cluster_upstream_cx_rx_bytes_total{{proxy_vendor="{vendor}"}})',
        at_seconds,
    )
    return float(samples[0]["value"][1]) if samples else 0.0


def test_bytes_of_an_open_tunnel_are_there_with_the_next_scrape(lab, inspect):
    """With `inspect: http` the request counter waits for the tunnel's end; the wire does not."""
    until(lambda: last_scrape(lab))
    head = b"CONNECT site-7.sim.test:443 HTTP/1.1\r\nHost: site-7.sim.test:443\r\n\r\n"
    inside = f"GET /p/{PAGE_BYTES} HTTP/1.1\r\nHost: site-7.sim.test\r\n\r\n".encode()
    where = next(one for one in lab.endpoints if one.vendor == "vendor-c")
    with socket.create_connection((where.address, where.port), timeout=60) as bare:
        bare.sendall(head)
        assert bare.recv(4096).startswith(b"HTTP/1.1 200 ")
        with tls_context().wrap_socket(bare, server_hostname="site-7.sim.test") as tunnel:
            tunnel.sendall(inside)
            received = 0
            while received < PAGE_BYTES:
                more = tunnel.recv(65536)
                assert more
                received += len(more)
            moved = time.time()

            at = until(lambda: last_scrape(lab) > moved and last_scrape(lab))
            # As of the scrape itself, whatever came since.
            assert wire_bytes(lab, "vendor-c", at) >= PAGE_BYTES
            counted = lab.query('istio_requests_total{proxy_vendor="vendor-c"}')
            assert len(counted) == (1 if inspect == "passive" else 0)
            for seen in module_bytes(lab):  # but for what was not yet worth a flush
                if seen.vendor == "vendor-c":
                    assert seen.cluster - UNFLUSHED_BYTES <= seen.module <= seen.cluster


def test_wire_bytes_are_the_vendors_own_socket_counts_per_protocol(lab):
    """Each vendor is spoken to in one protocol, so its counters are that protocol's."""
    before = {vendor: wire_bytes(lab, vendor) for vendor in PROTOCOL_OF}
    booked_before = vendors_wire(lab)
    start_crawler(lab)
    lab.family.wait_for_end("crawler")
    lab.settle()

    booked = vendors_wire(lab)
    for vendor, protocol in PROTOCOL_OF.items():
        own = sum(
            size - booked_before.get(key, 0) for key, size in booked.items() if key[0] == vendor
        )
        assert own > 0
        assert (vendor, protocol) in booked
        seen = wire_bytes(lab, vendor) - before[vendor]
        print(f"{protocol}: Envoy {seen:.0f}, vendor {own}: {seen / own - 1:+.4%}")
        assert abs(seen / own - 1) <= 0.001, protocol
    assert [one.finding for one in module_bytes(lab) if one.finding and one.cluster] == []


def vendors_wire(lab):
    return {
        (entry["vendor"], entry["protocol"]): entry["bytes_sent"] + entry["bytes_received"]
        for entry in get_json(f"{lab.vendor_url}/books")["wire"]
    }


def start_crawler(lab):
    """Start the crawler on the four vendors, one protocol each, nothing going wrong."""

    def four_vendors(own):
        first = {one["name"]: one for one in reversed(own["vendors"])}
        vendors = [
            first[name] | {"mix": {protocol: 1.0}, "faults": {}}
            for name, protocol in PROTOCOL_OF.items()
        ]
        return own | {"vendors": vendors}

    lab.start_crawler(count=COUNTS, requests_per_second=None, change=four_vendors)
