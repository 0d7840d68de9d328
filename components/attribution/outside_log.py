"""A line of JSON for each connection to nobody's address, which `make discover` reads.

Off by default (`telemetry.logOutside`). Istio's catch-all chain carries these connections; its
tcp_proxy gets one more access log, and is else as it was. A line names no user and no URL.
"""

from __future__ import annotations

from components.attribution.envoy import LISTENER, Json, extension, patch, standard_output

FILTER_NAME = "proxy-outside-log"
CATCH_ALL = "virtualOutbound-catchall-tcp"
"""Istio's name, model.VirtualOutboundCatchAllTCPFilterChainName (pilot/pkg/model/context.go)."""
TCP_PROXY = "envoy.filters.network.tcp_proxy"
KIND = "outside"
"""Value of `log` in each line, which tells it from Istio's own access log."""

_FIELDS: Json = {
    "log": KIND,
    "start": "%START_TIME%",
    "destination": "%DOWNSTREAM_LOCAL_ADDRESS%",
    # Empty unless another's tls_inspector has read it; this program adds none.
    "sni": "%REQUESTED_SERVER_NAME%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "milliseconds": "%DURATION%",
}


def outside_log_patches() -> list[Json]:
    """Return the patch. Where it does not match, traffic passes and no line is printed."""
    log = standard_output(_FIELDS)
    # istiod merges messages field by field, and appends to lists (EnvoyFilter, MERGE).
    value = extension(TCP_PROXY, "filters.network.tcp_proxy.v3.TcpProxy", access_log=[log])
    chain = {"name": CATCH_ALL, "filter": {"name": TCP_PROXY}}
    where = {"listener": {"name": LISTENER, "filterChain": chain}}
    return [patch("NETWORK_FILTER", "MERGE", value, where)]
