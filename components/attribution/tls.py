"""TLS from the sidecar to a vendor, for crawlers that speak none (`vendors[].tls`).

Envoy checks no name in a certificate that it was not told. Where `sni` gives one for the whole
vendor the cluster has it. A vendor's names each have their own: the chain writes it into the
connection, and the cluster, which they share, reads it there.
"""

from __future__ import annotations

from components.attribution.envoy import Json, extension, filter_state
from settings.hosts import Host
from settings.tls import VendorTls

SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
"""Both images of Istio's proxy have this file: Ubuntu's package ca-certificates installs it in the
default image, Wolfi's ca-certificates-bundle in the distroless one."""

SERVER_NAME_KEY = "envoy.network.upstream_server_name"
CERTIFICATE_NAMES_KEY = "envoy.network.upstream_subject_alt_names"
"""Filter state that TLS to the vendor reads: the name to ask for, and those to accept."""


def tls_fields(tls: VendorTls) -> Json:
    """Return the fields of a vendor's cluster that have it speak TLS; none if it does not."""
    if not tls.originate:
        return {}
    trusted = {"inline_string": tls.ca} if tls.ca else {"filename": SYSTEM_CA_FILE}
    validation: Json = {"trusted_ca": trusted}
    if tls.sni:
        name = {"san_type": "DNS", "matcher": {"exact": tls.sni}}
        validation["match_typed_subject_alt_names"] = [name]
    socket = extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.UpstreamTlsContext",
        **({"sni": tls.sni} if tls.sni else {}),
        common_tls_context={
            # Envoy's default for clients is TLS 1.2 and no later.
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "validation_context": validation,
        },
    )
    return {"transport_socket": socket}


def tls_states(tls: VendorTls, host: Host) -> list[Json]:
    """Return what the chain of a name writes into its connections, for TLS to the vendor.

    Without the second any certificate of a trusted CA would do.
    """
    if not tls.originate or tls.sni:
        return []
    return [
        filter_state(SERVER_NAME_KEY, SERVER_NAME_KEY, host.name),
        filter_state(CERTIFICATE_NAMES_KEY, CERTIFICATE_NAMES_KEY, host.name),
    ]
