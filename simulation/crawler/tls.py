"""TLS in memory, with sessions that resume."""

from __future__ import annotations

import ssl

MAX_TLS_SESSIONS = 1_000  # hosts whose session is kept: the first ones, which are the busy ones
# CPython loses 1.2 kB at each look at `SSLObject.session` (seen with 3.11.7): 12 MB in all.
MAX_TLS_SESSION_LOOKS = 10_000


def tls_context() -> ssl.SSLContext:
    """Return TLS 1.2 that verifies no certificate: a simulated target has no identity to prove.

    It asks a simulated vendor for anonymous ECDH first, which costs a third less CPU than its
    certificate and does not exist in TLS 1.3; a real vendor takes what is left.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:ECDHE+AESGCM:@SECLEVEL=0")
    return context


class Tls:
    """TLS for all connections; a known host resumes its session, at a third of the CPU."""

    def __init__(self) -> None:
        self._context = tls_context()
        self._sessions: dict[str, ssl.SSLSession] = {}  # by host
        self._looks = 0

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, host: str) -> ssl.SSLObject:
        session = self._sessions.get(host)
        return self._context.wrap_bio(incoming, outgoing, server_hostname=host, session=session)

    def keep(self, done: ssl.SSLObject) -> None:
        """Keep the session of a handshake that is done."""
        host = done.server_hostname
        if done.session_reused or not host or self._looks >= MAX_TLS_SESSION_LOOKS:
            return
        if host in self._sessions or len(self._sessions) < MAX_TLS_SESSIONS:
            self._looks += 1
            if session := done.session:
                self._sessions[host] = session
