"""Whether Envoy's HTTP inspector stands before a passive vendor's connections.

One listener serves all vendors, and the inspector can be disabled by port alone. So a passive
vendor shares its faults on the `httpPorts` of vendors with `inspect: http`.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from settings.stack import StackSettings
from tests.lab.conftest import Sidecar, running_sidecar

# Many times what it takes; a tenth of the inspector's time-out.
AT_ONCE_SECONDS = 0.1


class Patient(socketserver.ThreadingTCPServer):
    """A vendor that speaks first, and answers with what it got once the crawler has ended."""

    allow_reuse_address = True
    daemon_threads = True


class Conversation(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.request.sendall(b"welcome\n")
            got = b""
            while more := self.request.recv(65536):
                got += more
            self.request.sendall(b"%d" % len(got))


@dataclass(frozen=True)
class Met:
    greeted_at_once: bool
    half_close_answered: bool
    long_line_answered: bool


def meet(sidecar: Sidecar) -> Met:
    place = ("127.1.0.10", sidecar.ports.vendor)
    with Patient(("127.1.0.10", sidecar.ports.vendor_upstream), Conversation) as vendor:
        threading.Thread(target=vendor.serve_forever, args=(0.01,), daemon=True).start()
        started = time.monotonic()
        with socket.create_connection(place, timeout=5) as silent:
            assert silent.recv(100) == b"welcome\n"
        greeted = time.monotonic() - started
        met = Met(
            greeted_at_once=greeted < AT_ONCE_SECONDS,
            # Several: whether Envoy meets the request and its end at once is chance.
            half_close_answered=all(
                answered(place, b"GET http://x/ HTTP/1.1\r\n\r\n") for _ in range(20)
            ),
            long_line_answered=answered(place, b"GET http://x/" + b"a" * 70_000),
        )
        vendor.shutdown()
    return met


def answered(place: tuple[str, int], request: bytes) -> bool:
    """Send a request and the end of all requests at once; return whether the vendor got it."""
    got = b""
    with (
        contextlib.suppress(OSError),  # a reset; ENOTCONN where it came before the shutdown
        socket.create_connection(place, timeout=5) as crawler,
    ):
        crawler.sendall(request)
        crawler.shutdown(socket.SHUT_WR)
        while more := crawler.recv(100):
            got += more
    return got == b"welcome\n%d" % len(request)


@pytest.fixture
def beside_http(tmp_path) -> Iterator[Sidecar]:
    with running_sidecar(tmp_path, change_settings=lambda own: passive(own, "vendor-a")) as own:
        yield own


@pytest.fixture
def alone(tmp_path) -> Iterator[Sidecar]:
    with running_sidecar(tmp_path, change_settings=passive) as own:
        yield own


def passive(settings: StackSettings, *names: str) -> StackSettings:
    vendors = tuple(
        vendor.model_copy(update={"inspect": "passive"})
        if not names or vendor.name in names
        else vendor
        for vendor in settings.vendors
    )
    return settings.model_copy(update={"vendors": vendors})


def test_where_all_vendors_are_passive_nothing_is_held_back(alone):
    """No inspector: a vendor may speak first, and no first byte is waited for."""
    assert meet(alone) == Met(
        greeted_at_once=True, half_close_answered=True, long_line_answered=True
    )


def test_beside_http_vendors_the_inspector_reads_first(beside_http):
    """A limit of mixed stacks. When it is gone, say so in the key `inspect`."""
    assert meet(beside_http) == Met(
        greeted_at_once=False, half_close_answered=False, long_line_answered=False
    )
