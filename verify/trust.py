"""Trust in a server that speaks TLS for its name in the cluster, behind a forwarded port."""

from __future__ import annotations

import ssl
from typing import Any


class _Named(ssl.SSLContext):
    name: str

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*arguments, **{**named, "server_hostname": self.name})


def trusting(ca: str, name: str) -> ssl.SSLContext:
    """Return the client's side of TLS that takes a certificate of this CA for this name alone.

    Args:
        ca: PEM text.
        name: what the certificate must have, whatever address is connected to.
    """
    context = _Named(ssl.PROTOCOL_TLS_CLIENT)
    context.name = name
    context.load_verify_locations(cadata=ca)
    return context
