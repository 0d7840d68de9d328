"""A line of JSON for each request or connection to a vendor, on the sidecar's standard output.

Off by default (`telemetry.accessLogs`). A line names no crawled site: it has no host, path, query
or header, since absolute URLs and headers carry users, passwords and tokens.
"""

from __future__ import annotations

from components.attribution.envoy import Json, standard_output
from components.attribution.outcome import (
    METADATA,
    PROXY_VISIBILITY,
    VENDOR_KEY,
    proxy_outcome,
)

_FIELDS: Json = {
    "start": "%START_TIME%",
    "vendor": f"%FILTER_STATE({VENDOR_KEY}:PLAIN)%",
    "proxy": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "upstream": "%UPSTREAM_REMOTE_ADDRESS%",
    "flags": "%RESPONSE_FLAGS%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "milliseconds": "%DURATION%",
}


def log_accesses(chain: Json, timeout_after_seconds: int) -> None:
    """Have a filter chain print its requests, or its connections where Envoy parses none.

    In a passive chain a line is a connection, too: its requests are known to the module alone.
    """
    last = chain["filters"][-1]["typed_config"]
    kind = str(chain["name"]).rpartition("_")[2]
    of_kind = _of_requests(timeout_after_seconds) if kind == "http" else {"visibility": kind}
    last["access_log"] = [standard_output(_FIELDS | of_kind)]


def _of_requests(timeout_after_seconds: int) -> Json:
    return {
        "visibility": f"%CEL({PROXY_VISIBILITY})%",
        "outcome": f"%CEL({proxy_outcome(timeout_after_seconds)})%",
        "pool": f"%DYNAMIC_METADATA({METADATA}:proxy_pool)%",
        "target": f"%DYNAMIC_METADATA({METADATA}:proxy_target)%",
        "method": "%REQ(:METHOD)%",
        "code": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "answered_milliseconds": "%RESPONSE_DURATION%",
    }
