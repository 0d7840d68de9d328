"""What would fail only once it is applied, refused while it is still text."""

from __future__ import annotations

import json

from components.attribution.render import envoy_filters
from settings.loading import SettingsError
from settings.model import StackSettings

# etcd takes requests of 1.5 MiB (its --max-request-bytes); the API server adds managedFields,
# which name every field of a patch once more.
MAX_OBJECT_BYTES = 1_000_000

# Envoy looks prefixes up in a trie with a fixed number of nodes: 8,000 IPv6 ranges fitted (1.40),
# 16,000 did not, and a listener that is refused keeps new pods from starting.
MAX_IPV6_RANGES = 8000


def refuse_undeployable(settings: StackSettings) -> None:
    """Render every EnvoyFilter and measure it.

    Raises:
        SettingsError: a vendor's object is larger than the cluster's store can hold, or the
            ranges are more than Envoy's look-up can.
    """
    filters = envoy_filters(
        settings.vendors,
        patience_seconds=settings.telemetry.patience,
        selector=settings.crawlers.selector,
    )
    sizes = {name: len(json.dumps(spec).encode()) for name, spec in filters.items()}
    findings = []
    for index, vendor in enumerate(settings.vendors):
        size = sizes[f"proxy-vendor-{vendor.name}"]
        if size > MAX_OBJECT_BYTES:
            findings.append(
                f"vendors[{index}].cidrs: {len(vendor.cidrs)} ranges make an EnvoyFilter of "
                f"{size / 1e6:.1f} MB, and the cluster stores {MAX_OBJECT_BYTES / 1e6:.0f} MB; "
                "join neighbouring ranges, or split the vendor in two"
            )
    ipv6 = sum(entry.network.version == 6 for v in settings.vendors for entry in v.cidrs)
    if ipv6 > MAX_IPV6_RANGES:
        findings.append(
            f"vendors: {ipv6} IPv6 ranges together, and Envoy's look-up holds {MAX_IPV6_RANGES}; "
            "join neighbouring ranges"
        )
    if findings:
        raise SettingsError(findings)
