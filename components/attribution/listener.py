"""Patches of the listeners: `virtualOutbound`, for all vendors, and those of names' listed ports.

Filter chains are in chains.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.attribution.envoy import BUFFER_BYTES, Json, extension, patch_listener
from settings.values.addresses import PortRange
from settings.vendors import Vendor, inspected_ports

# For a server that speaks first, on a vendor's port: Envoy's default closes a silent connection
# after 15 s. With this the connection goes on after a second, as an opaque one.
_GO_ON = {"listener_filters_timeout": "1s", "continue_on_listener_filters_timeout": True}


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
        inspector = _http_inspector()
        # On every other port a server that speaks first (SMTP, MySQL) would have its greeting held
        # back until the inspector's time-out. It cannot be disabled by address: on these ports it
        # reads passive vendors' connections too, and resets some (test_without_envoy.py).
        inspector["filter_disabled"] = {"not_match": _match_ports(ports)}
        patches.append(patch_listener("LISTENER_FILTER", "ADD", inspector))
        changes |= _GO_ON
    return [*patches, patch_listener("LISTENER", "MERGE", changes)]


def named_listener_patches(listener: str, *, inspects: bool) -> list[Json]:
    """Return the patches of the listener that Istio makes for a listed port of a name.

    Args:
        listener: its name, from `names.listener_name`.
        inspects: whether Envoy tells HTTP from the rest there.
    """
    changes: Json = {"per_connection_buffer_limit_bytes": BUFFER_BYTES}
    if not inspects:
        return [patch_listener("LISTENER", "MERGE", changes, listener)]
    return [
        patch_listener("LISTENER_FILTER", "ADD", _http_inspector(), listener),
        patch_listener("LISTENER", "MERGE", changes | _GO_ON, listener),
    ]


def _http_inspector() -> Json:
    return extension(
        "envoy.filters.listener.http_inspector", "filters.listener.http_inspector.v3.HttpInspector"
    )


def _match_ports(ports: Sequence[PortRange]) -> Json:
    # Envoy's `end` is exclusive.
    rules = [
        {"destination_port_range": {"start": span.first, "end": span.last + 1}} for span in ports
    ]
    # Envoy refuses an or_match of a single rule.
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
