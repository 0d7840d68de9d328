"""Simulated vendors: sidecars lead what goes to a vendor's addresses and names to a Service.

The Services' names are in the world's DNS, as a cluster's own has them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from tests.mesh import crawler, names
from tests.mesh.kubelet import Pod
from tests.mesh.mesh import Json, Mesh
from tests.mesh.names import NameServer
from tests.mesh.test_traffic import SEEN_PASSIVELY, WAYS
from tests.mesh.vendors import Servers

PORT = 3128
PROXIES = {
    "vendor-a": ("10.1.0.10", PORT),
    "vendor-c": ("10.3.0.10", PORT),
    "vendor-f": ("10.6.0.10", PORT),  # vendor-g has the other ports there
    "vendor-h": ("fd00:a::10", PORT),
    "vendor-i": ("10.7.0.10", PORT),
    "vendor-p": ("10.8.0.10", PORT),
    "name-a": (names.virtual("name-a"), PORT),
    "name-p": (names.virtual("name-p"), PORT),
}
PASSIVE = ("vendor-p", "name-p")
UNREAD = ("vendor-i",)
SERVICES = {vendor: str(IPv4Address("10.62.0.1") + n) for n, vendor in enumerate(PROXIES)}
"""The Services' addresses, where the world's servers answer."""
LATE = "vendor-c"
"""Its Service is not there at first."""
REAL = {"vendor-g": ("10.6.0.10", 3140), "vendor-b": ("10.2.0.10", PORT)}
SEEN = {"http": "http", "tunnel": "tunnel", "tls": "opaque", "socks5": "opaque"}
COUNTED = {*PROXIES, *REAL}


def simulated(*but: str) -> Callable[[Json], None]:
    """Return an edit of the stack: who is simulated beside whom."""

    def edit(keys: Json) -> None:
        names.by_name(keys)
        places = {
            vendor: {"endpoint": f"[{address}]:{port}" if ":" in address else f"{address}:{port}"}
            for vendor, (address, port) in PROXIES.items()
            if vendor not in but
        }
        keys["simulatedVendors"] = {"enabled": True, "vendors": places}

    return edit


def zone(*but: str) -> dict[str, Json]:
    """Return the Services that a cluster's DNS knows."""
    return {
        f"proxy-{vendor}.proxy-vendors.svc.cluster.local": {"addresses": [address]}
        for vendor, address in SERVICES.items()
        if vendor not in but
    }


@pytest.fixture(scope="module")
def dns(mesh: Mesh, servers: Servers) -> Iterator[NameServer]:
    with names.answering(mesh) as server:
        server.write(zone(LATE))
        mesh.up(mesh.stack(simulated()))
        mesh.until_injected()
        yield server


@pytest.fixture(scope="module")
def pod(mesh: Mesh, dns: NameServer) -> Iterator[Pod]:
    with mesh.pod("crawler-simulated") as running:
        yield running


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("vendor", [vendor for vendor in PROXIES if vendor != LATE])
def test_each_protocol_reaches_the_service(
    mesh: Mesh, pod: Pod, servers: Servers, vendor: str, way: str
) -> None:
    """And counts once, as the vendor's, with all its bytes."""
    cluster = f"proxy-vendor_{vendor}"
    before, bytes_before = pod.counts(COUNTED), pod.wire(cluster)
    servers.clear()
    spoken = WAYS[way](pod, *PROXIES[vendor])
    assert spoken.echoed == (crawler.PAYLOAD[::-1] if way != "http" else b"")
    (seen,) = servers.seen
    assert (seen.address, seen.port, seen.kind) == (SERVICES[vendor], PORT, way)
    visibility = "opaque" if vendor in UNREAD else SEEN[way]
    if vendor in PASSIVE:
        visibility = SEEN_PASSIVELY[way]
    mesh.until(lambda: pod.counts(COUNTED) - before == {(vendor, visibility): 1})
    mesh.until(
        lambda: pod.wire(cluster) == (bytes_before[0] + seen.received, bytes_before[1] + seen.sent)
    )


@pytest.mark.parametrize("vendor", REAL)
def test_real_vendors_beside_them_keep_their_addresses(
    mesh: Mesh, pod: Pod, servers: Servers, vendor: str
) -> None:
    before = pod.counts(COUNTED)
    servers.clear()
    assert crawler.http(pod, *REAL[vendor]).code == 200
    assert [(one.address, one.port) for one in servers.seen] == [REAL[vendor]]
    mesh.until(lambda: pod.counts(COUNTED) - before == {(vendor, "http"): 1})


def test_every_address_and_port_leads_there(pod: Pod, servers: Servers) -> None:
    servers.clear()
    assert crawler.http(pod, "10.1.200.7", 3140).code == 200
    assert [(one.address, one.port) for one in servers.seen] == [(SERVICES["vendor-a"], PORT)]


def test_without_the_service_connections_fail_until_it_is_there(
    mesh: Mesh, pod: Pod, dns: NameServer
) -> None:
    failed = {"proxy_vendor": LATE, "proxy_outcome": "connect_failed"}
    for _ in range(2):
        assert crawler.http(pod, *PROXIES[LATE]).code == 503
    mesh.until(lambda: pod.total("istio_requests_total", **failed) == 2)
    dns.write(zone())
    mesh.until(lambda: crawler.http(pod, *PROXIES[LATE]).code == 200)


def test_a_vendor_becomes_real_in_one_step(mesh: Mesh, pod: Pod, servers: Servers) -> None:
    """New connections go to its own address, under the same labels."""
    total = {"proxy_vendor": "vendor-a", "proxy_visibility": "http"}
    before = pod.total("istio_requests_total", **total)
    started = time.time()
    mesh.up(mesh.stack(simulated("vendor-a")))
    mesh.settled([pod], started)
    servers.clear()
    assert crawler.http(pod, *PROXIES["vendor-a"]).code == 200
    assert [(one.address, one.port) for one in servers.seen] == [PROXIES["vendor-a"]]
    mesh.until(lambda: pod.total("istio_requests_total", **total) == before + 1)
