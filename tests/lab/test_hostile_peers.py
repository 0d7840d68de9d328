"""Vendors and sites that never end a head, never read, or vanish, and what real Envoy does.

The constants and their arithmetic are in components/attribution/envoy.py and clusters.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import time

import pytest

from components.attribution.clusters import KEEPALIVE
from components.attribution.envoy import BUFFER_BYTES, MAX_HEADERS_KIB
from lab.loopback import get_json
from tests.lab.conftest import running_sidecar, until
from tests.lab.parties import ADDRESS, CONNECT, ESTABLISHED, GET, PAGE, Parties, assert_open, left
from tests.lab.scripted import ask, vendor

HOSTILE = 150
OTHER = "127.2.0.10"  # of another vendor
LIMIT = MAX_HEADERS_KIB * 1024


def allocated(sidecar):
    """Return the bytes that Envoy has allocated."""
    return int(get_json(f"http://127.0.0.1:{sidecar.ports.envoy_admin}/memory")["allocated"])


class EndlessHead:
    """A vendor whose answers' heads have no end; they pause shortly before the limit."""

    def __init__(self):
        self.held = 0
        self.go_on = asyncio.Event()

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nX-A: " + b"v" * (LIMIT - 8192))
            await writer.drain()
            self.held += 1
            await self.go_on.wait()
            while True:
                writer.write(b"v" * 8192)
                await writer.drain()
        writer.close()


async def crawl(ports):
    reader, writer = await asyncio.open_connection(ADDRESS, ports.vendor)
    writer.write(GET)
    answer = await reader.readline()
    writer.close()
    return answer


async def endless_heads(sidecar):
    """Return what Envoy allocated for the heads, and what their crawlers got."""
    ports, hostile = sidecar.ports, EndlessHead()
    server = await asyncio.start_server(hostile.serve, ADDRESS, ports.vendor_upstream)
    async with server:
        crawlers = [asyncio.create_task(crawl(ports)) for _ in range(HOSTILE)]
        async with asyncio.timeout(120):
            while hostile.held < HOSTILE:
                await asyncio.sleep(0.05)
        held = await asyncio.to_thread(allocated, sidecar)
        with vendor(OTHER, ports.vendor_upstream):
            assert (await asyncio.to_thread(ask, OTHER, ports.vendor)).endswith("ok")
        hostile.go_on.set()
        return held, await asyncio.gather(*crawlers)


def test_heads_without_an_end_are_bounded_and_blame_nobody(tmp_path):
    """A site that wants to kill sidecars gets 502s: other traffic passes, and the memory holds."""
    with running_sidecar(tmp_path, addresses=[ADDRESS, OTHER]) as sidecar:
        before = allocated(sidecar)
        held, answers = asyncio.run(endless_heads(sidecar))
        assert held - before < HOSTILE * LIMIT * 1.3, (held - before) / HOSTILE
        assert set(answers) == {b"HTTP/1.1 502 Bad Gateway\r\n"}
        expected = {
            ("vendor-a", "http", "bad_answer", "502"): HOSTILE,
            ("vendor-b", "http", "success", "200"): 1,
        }
        until(lambda: sidecar.requests() == expected)
        until(lambda: allocated(sidecar) - before < 20e6)


def test_a_head_that_a_browser_would_take_is_carried(shared_sidecar):
    """Chromium takes answers of up to 256 KiB; no crawler sends more itself."""
    ports, long = shared_sidecar.ports, "v" * 250 * 1024
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: {long}\r\n\r\nok"
    request = f"GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nX-A: {long}\r\n\r\n"
    with vendor(ADDRESS, ports.vendor_upstream, answer) as scripted:
        got = ask(ADDRESS, ports.vendor, request)
        assert long in got
        assert got.endswith("ok")
        assert scripted.seen == [request.encode()]


@pytest.mark.parametrize("first", [GET, CONNECT, b"\x05\x01\x00"], ids=["http", "tunnel", "opaque"])
def test_slow_readers_hold_little(tmp_path, first):
    """Hundreds of crawlers that are busy elsewhere do not fill the sidecar's memory."""
    slow = 60
    answer = ESTABLISHED if first == CONNECT else PAGE.replace(b": 2\r\n", b": 100000000\r\n")
    with running_sidecar(tmp_path, addresses=[ADDRESS]) as sidecar, contextlib.ExitStack() as stack:
        before = allocated(sidecar)
        parties = Parties(sidecar.ports, stack)
        for _ in range(slow):
            parties.crawler(first, receive_buffer=8192)
            fast = parties.vendor(first)
            fast.sendall(answer)
            fast.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                while True:
                    fast.send(b"x" * 65_536)
        # What Envoy reads at once comes on top, on both sides.
        assert allocated(sidecar) - before < slow * 2.5 * BUFFER_BYTES


def vanish(connection):
    """Have the kernel drop whatever comes to a connection, as if its machine were gone."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    connection.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER


def impatient(rendered):
    for cluster in rendered.bootstrap["static_resources"]["clusters"]:
        if cluster["name"].startswith("proxy-"):
            options = cluster["upstream_connection_options"]
            assert options == {"tcp_keepalive": KEEPALIVE}
            options["tcp_keepalive"] = dict.fromkeys(KEEPALIVE, 1)
    return rendered


def test_a_vendor_that_vanished_is_noticed_and_a_silent_one_is_not_cut(tmp_path):
    """Here within seconds in place of the three minutes of KEEPALIVE."""
    with (
        running_sidecar(tmp_path, impatient, addresses=[ADDRESS]) as sidecar,
        contextlib.ExitStack() as stack,
    ):
        parties = Parties(sidecar.ports, stack)
        silent = [parties.met(kind) for kind in ("tunnel", "opaque")]
        gone = [parties.met(kind) for kind in ("tunnel", "opaque")]
        for _, machine in gone:
            vanish(machine)
        start = time.monotonic()
        for crawler, _ in gone:
            assert left(crawler, within=10)[1] != "open"
        assert time.monotonic() - start >= 1
        time.sleep(2)
        for crawler, machine in silent:
            assert_open(crawler)
            machine.sendall(b"still there")
            assert crawler.recv(100) == b"still there"


def test_three_minutes_until_a_vendor_counts_as_gone():
    """What the page says; a NAT or an outage of two minutes cuts no silent tunnel."""
    noticed = KEEPALIVE["keepalive_time"] + (
        KEEPALIVE["keepalive_interval"] * KEEPALIVE["keepalive_probes"]
    )
    assert 180 <= noticed <= 200
