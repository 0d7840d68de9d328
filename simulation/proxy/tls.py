"""The server's side of TLS, in memory."""

from __future__ import annotations

import contextlib
import ssl

from simulation.proxy.plan import Plan


def tls_context(plan: Plan) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if plan.certificate and plan.key:
        context.load_cert_chain(plan.certificate, plan.key)
        return context
    # Anonymous ECDH exists up to TLS 1.2 and below OpenSSL's default security level only.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    context.set_ecdh_curve("X25519")  # two thirds of a P-256 handshake's CPU
    return context


class Tls:
    """The server's side of a TLS session in memory: bytes in, bytes out, no socket.

    Memory BIOs instead of start_tls: bytes the crawler sends right behind its CONNECT are simply
    there, a connection costs one object less, and sessions may lie within each other.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False
        self.ended = False  # by the other side, or because this is no TLS

    def open(self, data: bytes) -> bytes:
        """Take bytes of the session; the plain bytes they held."""
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
        """Say that nothing more comes: without it a client takes the end for a cut."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self.pending()

    def pending(self) -> bytes:
        """What is to be sent: handshake, alerts, sealed bytes."""
        return self._outgoing.read()
