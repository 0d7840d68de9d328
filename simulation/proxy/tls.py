"""The server's side of TLS, in memory."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

from simulation.proxy.plan import Plan

# Self-signed, with its key, in one file. It is no secret: a simulated vendor has nothing to
# protect, and every client that reaches it was told not to verify (`curl -k`).
PUBLIC_TEST_CERTIFICATE = Path(__file__).with_name("public-test-certificate.pem")


def tls_context(plan: Plan) -> ssl.SSLContext:
    """Return the server's side of TLS with the plan's certificate, or the public test one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(plan.certificate or PUBLIC_TEST_CERTIFICATE, plan.key)
    # The first is the simulated crawler's own, without a certificate; no real client offers it.
    context.set_ciphers("AECDH-AES128-SHA:ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=0")
    return context


class Tls:
    """The server's side of a TLS session in memory.

    Unlike start_tls it loses no bytes that come right after a CONNECT, and sessions may lie within
    each other: a tunnel through a proxy that is itself reached by TLS.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False
        self.ended = False  # by the other side, or because this is no TLS

    def open(self, data: bytes) -> bytes:
        """Take bytes of the session; return the plain bytes in them."""
        self._incoming.write(data)
        plain = b""
        try:
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
            while chunk := self._tls.read(16384):
                plain += chunk
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.ended = True
        return plain

    def seal(self, plain: bytes | memoryview) -> bytes:
        try:
            self._tls.write(plain)
        except ssl.SSLError:
            self.ended = True
        return self.pending()

    def farewell(self) -> bytes:
        """Return the closing alert: without it a client takes the end for a cut."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self.pending()

    def pending(self) -> bytes:
        """Return what is to be sent: handshake, alerts, encrypted bytes."""
        return self._outgoing.read()
