"""The passive module in a real Envoy, with real sockets: what it counts, and that nothing differs.

Crawler and vendor are played here. Each side receives exactly what the other sent, or a case fails.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from components.attribution.envoy import extension
from tests.lab.conftest import running_sidecar, until
from tests.lab.parties import ADDRESS, leave, receive

IN_A_POOL = "127.2.128.10"  # vendor-b's

GET = b"GET http://site-1.sim.test/ HTTP/1.1\r\nHost: site-1.sim.test\r\n\r\n"
OTHER = b"get http://elsewhere.test/\xc3\xa9 HTTP/1.1\r\nA : b\r\n\r\n"
POST = b"POST http://site-1.sim.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n"
CONNECT = b"CONNECT site-1.sim.test:443 HTTP/1.1\r\nHost: site-1.sim.test:443\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2;x\nok\n0\nA: b\n\n"
NO_CONTENT = b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"
GRANTED = b"HTTP/1.1 200 OK\r\nProxy Connection: x\r\n\r\n"
REFUSED = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\npage"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
SOCKS_SHOP = b"\x05\x01\x00\x03\x0fsite-1.sim.test\x01\xbb"
SOCKS_REPLY = b"\x05%c\x00\x01\x00\x00\x00\x00\x00\x00"


@dataclass(frozen=True)
class Case:
    """Steps by side: `C` sends, `V` sends, `V.reset`, `wait 1.2`; and what is counted."""

    name: str
    steps: tuple[bytes | str, ...]
    requests: dict[tuple[str, str, str], int]
    """By visibility, outcome and response code."""
    opaque: int = 0


def c(data):
    return b"C" + data


def v(data):
    return b"V" + data


OK = ("http", "success", "200")
TUNNEL = ("tunnel", "success", "200")
CASES = (
    Case(
        "keep-alive",
        (c(GET), v(GOOD), c(OTHER), v(CHUNKED), c(POST), v(NO_CONTENT), "C.close"),
        {OK: 1, ("http", "target_error", "404"): 1, ("http", "success", "204"): 1},
    ),
    Case(
        "pipelined",
        (c(GET + OTHER + POST + GET), v(GOOD + CHUNKED), v(GOOD * 2), "C.close"),
        {OK: 3, ("http", "target_error", "404"): 1},
    ),
    Case(
        "a request in three segments",
        (c(GET[:9]), c(GET[9:30]), c(GET[30:]), v(GOOD[:11]), v(GOOD[11:]), "C.close"),
        {OK: 1},
    ),
    Case(
        "a tunnel whose first bytes come with the request",
        (c(CONNECT + b"\x16\x03\x01"), v(GRANTED), c(b"\x16"), "C.close"),
        {TUNNEL: 1},
    ),
    Case(
        "a tunnel that the vendor resets",
        (c(CONNECT), v(GRANTED), c(b"\x16"), "V.reset"),
        {TUNNEL: 1},
    ),
    Case(
        "a refused tunnel, then another",
        (c(CONNECT), v(REFUSED), c(CONNECT), v(GRANTED), c(b"x"), "C.close"),
        {("tunnel", "auth_challenge", "407"): 1, TUNNEL: 1},
    ),
    Case("no byte at all", ("V", "C.close"), {}, 1),
    Case(
        "opaque after a request", (c(GET), v(GOOD), c(b"\x00\x01"), v(b"z"), "C.close"), {OK: 1}, 1
    ),
    Case(
        "SOCKS5 refused",
        (c(b"\x05\x01\x00"), v(b"\x05\x00"), c(SOCKS_SHOP), v(SOCKS_REPLY % 2), "V.close"),
        {("socks", "policy", "0"): 1},
    ),
    Case(
        "SOCKS5 refused by a code alone",
        (c(b"\x05\x01\x00"), v(b"\x05\x00"), c(SOCKS_SHOP), v(b"\x05\x02"), "V.close"),
        {("socks", "policy", "0"): 1},
    ),
    Case(
        "SOCKS5 wrong password",
        (c(b"\x05\x01\x02"), v(b"\x05\x02"), c(b"\x01\x01u\x01p"), v(b"\x01\x01"), "V.close"),
        {("socks", "auth_failed", "0"): 1},
    ),
    Case(
        "until FIN, but reset", (c(GET), v(UNTIL_CLOSE), "V.reset"), {("http", "reset", "200"): 1}
    ),
    Case("the crawler closes late", (c(GET), "wait 1.1", "C.close"), {("http", "timeout", "0"): 1}),
    Case("the crawler resets late", (c(GET), "wait 1.1", "C.reset"), {("http", "timeout", "0"): 1}),
    Case("the crawler leaves inside the answer", (c(GET), v(HALF), "C.reset"), {OK: 1}),
)


@pytest.fixture(scope="module")
def passive(tmp_path_factory):
    """An Envoy whose vendors are read by the module."""
    with running_passive(tmp_path_factory.mktemp("passive")) as sidecar:
        yield sidecar


def running_passive(folder, change=lambda rendered: rendered):
    addresses = (ADDRESS, IN_A_POOL)
    return running_sidecar(folder, change, change_settings=read_passively, addresses=addresses)


def read_passively(settings):
    """Return the lab's settings with every vendor read by the module.

    With one that is inspected as HTTP, Envoy waits a second for the first byte on its port.
    """
    vendors = [vendor.model_copy(update={"inspect": "passive"}) for vendor in settings.vendors]
    return settings.model_copy(update={"vendors": tuple(vendors)})


def counted(sidecar):
    """Return counts of requests, and of opaque connections, of vendor-a."""
    requests = {key[1:]: count for key, count in sidecar.requests().items() if key[0] == "vendor-a"}
    opened = sidecar.counter("istio_tcp_connections_opened_total", proxy_vendor="vendor-a")
    return Counter(requests) + Counter({"opaque": opened})


def payload(sidecar):
    """Return (module's, cluster's) payload bytes to and from vendor-a."""
    module = [
        sidecar.counter(f"istio_proxy_{way}_bytes_total", proxy_vendor="vendor-a")
        for way in ("request", "response")
    ]
    cluster = [
        sidecar.counter(
            f"envoy_cluster_upstream_cx_{way}_bytes_total", cluster_name="proxy-vendor_vendor-a"
        )
        for way in ("tx", "rx")
    ]
    return module, cluster


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_counted(passive, case):
    """Labels and outcomes of each kind of exchange, and every byte in one counter."""
    before = counted(passive)
    expected = Counter(case.requests) + Counter({"opaque": case.opaque})
    with contextlib.ExitStack() as stack:
        play(case.steps, passive.ports, stack)
    until(lambda: counted(passive) - before >= expected)
    until(lambda: len(set(map(tuple, payload(passive)))) == 1)
    assert counted(passive) - before == expected


def test_every_label_has_its_value(passive):
    """Labels of requests and of bytes are those of `inspect: http`, pool and target too."""
    with contextlib.ExitStack() as stack:
        play((c(GET), v(GOOD), "C.close"), passive.ports, stack, IN_A_POOL)
    own = {"proxy_vendor": "vendor-b", "proxy_visibility": "http"}
    place = {"proxy_pool": "residential", "proxy_target": "shops"}
    workload = {"source_workload": "crawler", "source_workload_namespace": "crawlers"}
    answer = {"proxy_outcome": "success", "response_code": "200"}

    def of_vendor_b(name):
        found = passive.samples(name)
        return [(labels, n) for labels, n in found if labels["proxy_vendor"] == "vendor-b"]

    until(lambda: of_vendor_b("istio_proxy_response_bytes_total"))
    requests = of_vendor_b("istio_requests_total")
    assert requests == [({**own, **place, **workload, **answer}, 1)]
    labels = {**own, **place, **workload, "proxy_result": "delivered"}
    assert of_vendor_b("istio_proxy_request_bytes_total") == [(labels, len(GET))]
    assert of_vendor_b("istio_proxy_response_bytes_total") == [(labels, len(GOOD))]
    # Envoy merges histograms a moment later.
    until(lambda: of_vendor_b("istio_proxy_setup_milliseconds_count") == [(own, 1)])


def test_the_few_bytes_of_a_tunnel_are_counted_while_it_is_open(passive):
    """Without that a fleet of quiet tunnels would look like traffic that nobody counts."""
    _, before = payload(passive)
    with contextlib.ExitStack() as stack:
        play((c(CONNECT), v(GRANTED), c(b"ping"), v(b"pong")), passive.ports, stack)
        until(lambda: payload(passive)[1] != before)
        until(lambda: len(set(map(tuple, payload(passive)))) == 1)


def hung_up(ports, request):
    """Return whether Envoy closes on a crawler that sends a request at once."""
    with socket.create_connection((ADDRESS, ports.vendor), timeout=10) as crawler:
        try:
            crawler.sendall(request)
            return crawler.recv(1) == b""
        except ConnectionError:
            return True


def test_a_connection_that_does_not_come_about_is_a_timeout(tmp_path):
    """The vendor's address swallows what is sent to it; the crawler waits for Envoy's time-out."""

    def soon(rendered):
        for cluster in rendered.bootstrap["static_resources"]["clusters"]:
            cluster["connect_timeout"] = "1s"
        return rendered

    with contextlib.ExitStack() as stack:
        sidecar = stack.enter_context(running_passive(tmp_path, soon))
        # A queue that is full: the kernel drops what else comes.
        vendor = (ADDRESS, sidecar.ports.vendor_upstream)
        stack.enter_context(socket.create_server(vendor, backlog=0))
        for _ in range(2):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(vendor)
        for request in (GET, CONNECT, b"\x05\x01\x00"):
            assert hung_up(sidecar.ports, request)
        until(lambda: counted(sidecar).total() == 3)
        kinds = ("http", "tunnel", "socks")
        assert counted(sidecar) == {(kind, "timeout", "0"): 1 for kind in kinds}
        assert payload(sidecar) == ([0, 0], [0, 0])


def test_a_filter_behind_that_stops_changes_no_byte(tmp_path):
    """Such a filter has Envoy hand over the same bytes again: they count twice, requests do not.

    Nothing that is rendered here has such a filter, but a user's own EnvoyFilter may add one.
    """
    with contextlib.ExitStack() as stack:
        never_answers = stack.enter_context(socket.create_server((ADDRESS, 0)))
        port = never_answers.getsockname()[1]
        sidecar = stack.enter_context(
            running_passive(tmp_path, lambda rendered: with_slow_filter(rendered, port))
        )
        listener = stack.enter_context(
            socket.create_server((ADDRESS, sidecar.ports.vendor_upstream))
        )
        crawler = stack.enter_context(socket.create_connection((ADDRESS, sidecar.ports.vendor)))
        for piece in (GET[:9], GET[9:30], GET[30:]):
            crawler.sendall(piece)
            time.sleep(0.1)
        vendor = stack.enter_context(listener.accept()[0])
        vendor.settimeout(10)
        for _ in range(3):
            receive(vendor, GET)
            vendor.sendall(GOOD)
            receive(crawler, GOOD)
            crawler.sendall(GET)
        receive(vendor, GET)
        until(lambda: counted(sidecar) == {OK: 3})


def with_slow_filter(rendered, port):
    """Put a filter in front of `tcp_proxy` that holds bytes for a second; it asks this port."""
    resources = rendered.bootstrap["static_resources"]
    kind = "type.googleapis.com/envoy.extensions"
    asking = extension(
        "slow",
        "filters.network.ext_authz.v3.ExtAuthz",
        stat_prefix="slow",
        failure_mode_allow=True,
        grpc_service={"envoy_grpc": {"cluster_name": "slow"}, "timeout": "1s"},
        transport_api_version="V3",
    )
    for chain in resources["listeners"][0]["filter_chains"]:
        if chain["name"].endswith("_passive"):
            chain["filters"].insert(-1, asking)
    address = {"socket_address": {"address": ADDRESS, "port_value": port}}
    http2 = {
        "@type": f"{kind}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    slow = {
        "name": "slow",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
        "load_assignment": {
            "cluster_name": "slow",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    resources["clusters"].append(slow)
    return rendered


def play(steps, ports, stack, address=ADDRESS):
    """Do what each step says, in order; the other side must see it before the next.

    Returns the crawler's and the vendor's socket.
    """
    with socket.create_server((address, ports.vendor_upstream)) as listener:
        listener.settimeout(10)
        crawler = stack.enter_context(socket.create_connection((address, ports.vendor), timeout=10))
        vendor = stack.enter_context(listener.accept()[0])
    sides = {"C": (crawler, vendor), "V": (vendor, crawler)}
    for step in steps:
        if isinstance(step, bytes):
            sender, receiver = sides[chr(step[0])]
            sender.sendall(step[1:])
            receive(receiver, step[1:])
        elif step.startswith("wait"):
            time.sleep(float(step.split()[1]))
        else:
            side, _, how = step.partition(".")
            own, other = sides[side]
            if how:
                leave(own, how)
                with contextlib.suppress(ConnectionError):
                    assert other.recv(1) == b""
    return crawler, vendor
