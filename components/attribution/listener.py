"""What is changed in the outbound listener itself, once for all vendors."""

from __future__ import annotations

from collections.abc import Sequence

from components.attribution.envoy import BUFFER_BYTES, Json, extension, patch_listener
from settings.values.addresses import PortRange
from settings.vendors import Vendor, inspected_ports


def listener_patches(vendors: Sequence[Vendor]) -> list[Json]:
    """Return the patches that let Envoy tell HTTP from the rest on the vendors' `httpPorts`.

    They also bound what Envoy buffers for a slow reader, whoever it reads from.
    """
    original_dst = extension(
        "envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst"
    )
    # First, or the inspector would compare its ports with 15001 and never read a byte.
    patches = [patch_listener("LISTENER_FILTER", "INSERT_FIRST", original_dst)]
    changes: Json = {"per_connection_buffer_limit_bytes": BUFFER_BYTES}
    ports = inspected_ports(vendors)
    if ports:
        inspector = extension(
            "envoy.filters.listener.http_inspector",
            "filters.listener.http_inspector.v3.HttpInspector",
        )
        # On every other port a server that speaks first (SMTP, MySQL) would have its greeting held
        # back until the inspector's time-out. It cannot be disabled by address: on these ports it
        # reads passive vendors' connections too, and resets some (test_passive_inspector.py).
        inspector["filter_disabled"] = {"not_match": _match_ports(ports)}
        patches.append(patch_listener("LISTENER_FILTER", "ADD", inspector))
        # For such a server on a vendor's port: Envoy's default closes a silent connection after
        # 15 s. With this the connection goes on after a second, as an opaque one.
        changes["listener_filters_timeout"] = "1s"
        changes["continue_on_listener_filters_timeout"] = True
    return [*patches, patch_listener("LISTENER", "MERGE", changes)]


def _match_ports(ports: Sequence[PortRange]) -> Json:
    # Envoy's `end` is exclusive.
    rules = [
        {"destination_port_range": {"start": span.first, "end": span.last + 1}} for span in ports
    ]
    # Envoy refuses an or_match of a single rule.
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
