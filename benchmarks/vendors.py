"""A vendor inside the benchmark's own process: grants every CONNECT, and counts who is there."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

from benchmarks.crawlers import Address

_GRANTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class CountingVendor:
    """Answers heads and reads nothing else; a connection ends when the other side ends it."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._calls: dict[socket.socket, bytes] = {}

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._calls)

    def serve(self, stop: threading.Event) -> None:
        """Serve until `stop`; then close everything."""
        while not stop.is_set():
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    call, _ = self._listener.accept()
                    self._calls[call] = b""
                    self._selector.register(call, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)
        for call in self._calls:
            call.close()
        self._selector.close()

    def _read(self, call: socket.socket) -> None:
        try:
            received = call.recv(65536)
        except ConnectionResetError:
            received = b""
        if not received:
            self._selector.unregister(call)
            call.close()
            del self._calls[call]
            return
        head = self._calls[call] + received
        if head.endswith(b"\r\n\r\n"):
            call.sendall(_GRANTED if head.startswith(b"CONNECT ") else _PAGE)
            head = b""
        self._calls[call] = head


@contextlib.contextmanager
def counting_vendor(address: Address) -> Iterator[CountingVendor]:
    """Give a vendor that listens at `address` and is gone when the block ends."""
    with socket.create_server(address, backlog=1024) as listener:
        vendor, stop = CountingVendor(listener), threading.Event()
        thread = threading.Thread(target=vendor.serve, args=(stop,), daemon=True)
        thread.start()
        try:
            yield vendor
        finally:
            stop.set()
            thread.join()
