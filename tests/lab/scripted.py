"""A vendor that answers as a test tells it, and a crawler that asks once."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading

PLAIN = "GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n"
GOOD = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ScriptedVendor:
    """Reads a request's head and sends `answer`, a text or what makes one of the head.

    `seen` is what it read. It hangs up behind an answer without a Content-Length.
    """

    def __init__(self, answer):
        self.answer = answer
        self.seen = []

    def serve(self, reader, writer):
        while head := self._head(reader):
            self.seen.append(head)
            answer = self.answer(head) if callable(self.answer) else self.answer
            writer.write(answer.encode("latin-1"))
            if "Content-Length" not in answer:
                return

    @staticmethod
    def _head(reader):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = reader.readline()
            if not line:
                return b""
            head += line
        return head


@contextlib.contextmanager
def vendor(address, port, answer=GOOD):
    scripted = ScriptedVendor(answer)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(ConnectionError):  # a test has ended: Envoy is gone
                scripted.serve(self.rfile, self.wfile)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((address, port), Handler) as server:
        # It looks for the block's end as often; the default costs each test half a second.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield scripted
        server.shutdown()


def ask(address, port, request=PLAIN, *, to_end=False):
    """Send a request; return the answer's head and what came with it, or all until the end."""
    with socket.create_connection((address, port), timeout=60) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while to_end or b"\r\n\r\n" not in answer:
            more = connection.recv(65536)
            if not more:
                break
            answer += more
    return answer.decode("latin-1")
