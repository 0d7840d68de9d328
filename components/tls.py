"""TLS of the servers in `monitoring` (`monitoring.tls`): their names, and the files of each side.

cert-manager keeps a certificate for each application in a Secret, which servers and clients mount.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from settings.namespaces import MONITORING_NAMESPACE

CA_KEY = "ca.crt"
CERTIFICATE_KEY = "tls.crt"
PRIVATE_KEY_KEY = "tls.key"


def server_name(app: str) -> str:
    """Return the name in an application's certificate: that of its Service."""
    return f"{app}.{MONITORING_NAMESPACE}.svc"


def secret_name(app: str) -> str:
    return f"{app}-tls"


@dataclass(frozen=True, kw_only=True)
class Tls:
    """A server that speaks TLS, as one pod sees it."""

    app: str
    """The server."""
    folder: str
    """Where the pod mounts a Secret of cert-manager's: the server its own, a client any, for the
    CA is the same."""

    @property
    def certificate(self) -> str:
        return f"{self.folder}/{CERTIFICATE_KEY}"

    @property
    def key(self) -> str:
        return f"{self.folder}/{PRIVATE_KEY_KEY}"

    def client(self) -> dict[str, Any]:
        """Return `tls_config` of a client. It connects to addresses, so it is told the name."""
        ca_file = f"{self.folder}/{CA_KEY}"
        return {"tls_config": {"ca_file": ca_file, "server_name": server_name(self.app)}}

    def server(self) -> dict[str, Any]:
        """Return `tls_server_config`; the server reads the files anew for each connection."""
        files = {"cert_file": self.certificate, "key_file": self.key}
        return {"tls_server_config": {**files, "min_version": "TLS12"}}
