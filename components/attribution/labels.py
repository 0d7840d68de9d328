"""Which labels every chain's traffic gets: istio.stats and what it reads, sent once for all chains.

One EnvoyFilter holds all configurations. So an edit of labels, outcomes or `timeoutAfter` ends no
connection, and istiod sends it once, however many chains there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.attribution.answers import ANSWERS, answers_config
from components.attribution.discovery import STATS_TYPE, http_filter, network_filter
from components.attribution.envoy import Json, add
from components.attribution.groups import Group
from components.attribution.stats import http_plugin_config, opaque_plugin_config

LABELS_FILTER_NAME = "proxy-labels"
HTTP_STATS = "proxy_observability.http_stats"
OPAQUE_STATS = "proxy_observability.opaque_stats"


def http_stats() -> Json:
    """Return the HTTP filter that counts requests."""
    return http_filter(HTTP_STATS, STATS_TYPE)


def opaque_stats() -> Json:
    """Return the network filter that counts opaque connections."""
    return network_filter(OPAQUE_STATS, STATS_TYPE)


def label_patches(
    groups: Sequence[Group], *, with_targets: bool, timeout_after_seconds: int
) -> list[Json]:
    """Return the patches for what the chains of `groups` ask for."""
    configs = {}
    if not all(group.is_passive for group in groups):
        configs[OPAQUE_STATS] = opaque_plugin_config()
    if any(group.parses_http for group in groups):
        configs[ANSWERS] = answers_config()
        configs[HTTP_STATS] = http_plugin_config(
            with_targets=with_targets, timeout_after_seconds=timeout_after_seconds
        )
    return [
        add("EXTENSION_CONFIG", {"name": name, "typed_config": config})
        for name, config in configs.items()
    ]
