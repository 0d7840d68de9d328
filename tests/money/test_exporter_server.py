"""The page that is scraped, and clients that do not behave."""

from __future__ import annotations

import http
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from money.exporter.server import Answer, PageServer

PAGE = "x" * 2**24
"""More than a socket's buffers hold, so that the server still writes when the client goes."""


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer(0, lambda _: Answer(http.HTTPStatus.OK, PAGE)) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


def client(server: PageServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=30)


def test_a_scrape_that_breaks_off_leaves_no_traceback(
    server: PageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Prometheus that is killed amid a scrape is nobody's mistake here."""
    for _ in range(3):
        with client(server) as broken:
            broken.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert broken.recv(100)
            # Closed by a reset, with the rest unread.
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for thread in threading.enumerate():
        if "process_request" in thread.name:
            thread.join(30)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("said", [b"", b"GET /metr", b"\x16\x03\x01\x02\x00", b"A" * 70_000])
def test_a_client_that_says_little_or_nonsense_holds_up_nobody(
    server: PageServer, said: bytes
) -> None:
    with client(server) as odd:
        odd.sendall(said)
        url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert len(answer.read()) == len(PAGE)
