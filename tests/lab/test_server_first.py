"""Protocols in which the server speaks first (SMTP, MySQL, SSH) wait for nobody to look at them.

Through the rendered listener, and through a control: the same Envoy with Istio's catch-all alone,
none of our chains and listener filters.
"""

from __future__ import annotations

import contextlib
import copy
import socket
import socketserver
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.loopback import get_text
from lab.processes import children
from lab.system import EXTENSIONS, load_settings, rendered_envoy, start_envoy, wait_until_ready
from tests.lab.conftest import Sidecar, free_ports, until
from tests.lab.parties import receive

VENDOR, OUTSIDE = "127.1.0.10", "127.9.0.10"
LATE = "127.2.0.10"  # vendor-b: of one test alone, which counts its connections
ADDRESSES = (VENDOR, OUTSIDE, LATE)
ROUNDS = 100
LOOKED_IN_VAIN = "downstream_pre_cx_timeout"
PLAIN = b"GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n"
BANNER = b"220 mail.test ESMTP\r\n"


class Greeter(socketserver.BaseRequestHandler):
    """Speaks first, then sends back whatever comes."""

    def handle(self):
        self.request.settimeout(60)
        with contextlib.suppress(OSError):
            self.request.sendall(BANNER)
            while data := self.request.recv(65536):
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """(ours, control), each with a server that speaks first behind it."""
    with contextlib.ExitStack() as stack:
        family = stack.enter_context(children())
        found = []
        for name in ("ours", "control"):
            ports, folder = free_ports(), tmp_path_factory.mktemp(name)
            rendered = rendered_envoy(load_settings(ports), ADDRESSES, ports, folder)
            listener, *_ = rendered.bootstrap["static_resources"]["listeners"]
            listen_also(listener, other_port(ports))
            matcher = rendered.bootstrap["stats_config"]["stats_matcher"]["inclusion_list"]
            matcher["patterns"].append({"suffix": LOOKED_IN_VAIN})
            if name == "control":
                strip(listener)
            start_envoy(family, rendered, folder)
            wait_until_ready(family, name, f"http://127.0.0.1:{ports.envoy_admin}/ready")
            for address in ADDRESSES:
                for port in {ports.vendor_upstream, ports.outside_upstream}:
                    server = stack.enter_context(Server((address, port), Greeter))
                    stack.callback(server.shutdown)
                    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            found.append(Sidecar(ports, folder / EXTENSIONS))
        yield tuple(found)


def other_port(ports):
    """Return a port that is in no vendor's `httpPorts`."""
    return ports.base + 25


def listen_also(listener, port):
    """Have the listener on one more port of each of its addresses."""
    for one in [
        listener["address"],
        *(more["address"] for more in listener["additional_addresses"]),
    ]:
        socket_address = one["socket_address"] | {"port_value": port}
        more = {"address": {"socket_address": socket_address}}
        if more not in listener["additional_addresses"]:
            listener["additional_addresses"].append(copy.deepcopy(more))


def strip(listener):
    """Leave Istio's catch-all, and the lab's stand-in for the redirect."""
    listener["filter_chains"] = listener["filter_chains"][:1]
    listener["listener_filters"] = listener["listener_filters"][:1]
    for key in ("listener_filters_timeout", "continue_on_listener_filters_timeout"):
        listener.pop(key, None)


def looked_in_vain(side):
    """Return how many connections a listener filter has waited for until its time-out."""
    admin = f"http://127.0.0.1:{side.ports.envoy_admin}"
    text = get_text(f"{admin}/stats?filter={LOOKED_IN_VAIN}")
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines())


def banner_seconds(address, port):
    """Return the time from connecting to the server's first byte."""
    started = time.perf_counter()
    with socket.create_connection((address, port), timeout=60) as connection:
        assert connection.recv(len(BANNER)), "closed without a word"
        return time.perf_counter() - started


def banner_medians(address, ours, control, rounds=ROUNDS):
    """Return the median time to the first byte through each, on the port not looked at, in turn."""
    seconds = {ours: [], control: []}
    for turn in range(rounds):
        # Either first as often: the end of a connection costs the next one time.
        for side in (ours, control) if turn % 2 else (control, ours):
            seconds[side].append(banner_seconds(address, other_port(side.ports)))
    return tuple(statistics.median(measured) for measured in seconds.values())


@pytest.mark.parametrize("address", [VENDOR, OUTSIDE])
def test_on_any_other_port_the_servers_first_byte_is_not_delayed(sides, address):
    """A crawler's mail, database or SSH connection is as quick as without us."""
    before = [looked_in_vain(side) for side in sides]
    own, other = banner_medians(address, *sides)
    print(
        f"first byte from {address}: {own * 1e6:.0f} us / {other * 1e6:.0f} us = {own / other:.2f}"
    )
    assert [looked_in_vain(side) for side in sides] == before


def test_on_an_http_port_it_comes_once_the_look_has_timed_out(sides):
    """Late, never lost: at a vendor and outside of every one, since the look knows ports only."""
    ours, control = sides
    before = [looked_in_vain(side) for side in sides]
    with ThreadPoolExecutor() as pool:
        own = list(pool.map(banner_seconds, (VENDOR, OUTSIDE), [ours.ports.vendor] * 2))
        other = list(pool.map(banner_seconds, (VENDOR, OUTSIDE), [control.ports.vendor] * 2))
    print(f"first byte on an HTTP port: {[f'{seconds:.3f} s' for seconds in own + other]}")
    assert [looked_in_vain(ours), looked_in_vain(control)] == [before[0] + 2, before[1]]


def late_request(address, port, first, rest):
    """Send `first`, and `rest` once the look is over, which the banner tells; return the echo."""
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.sendall(first)
        receive(connection, BANNER)
        connection.sendall(rest)
        receive(connection, first + rest)


def test_a_crawler_that_speaks_late_gets_through_as_opaque(sides):
    """Its bytes arrive as written, the vendor is named; only the look has missed them."""
    ours, _ = sides
    firsts = [b"", PLAIN[:1], PLAIN[:20]]
    with ThreadPoolExecutor() as pool:
        late = [
            pool.submit(late_request, LATE, ours.ports.vendor, first, PLAIN[len(first) :])
            for first in firsts
        ]
    for each in late:
        each.result()
    until(lambda: ours.opaque_connections("vendor-b") == len(firsts))
    assert ours.requests() == {}
