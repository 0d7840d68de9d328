"""Replace what upstream's Envoy lacks of Istio's, between istiod and the sidecar.

`meshlab relay` runs this program: it reads a listener, a cluster or an extension a line, and
answers with what Envoy gets, or `same`. No EnvoyFilter can do it, since istiod appends added filter
chains after all other patches (its envoyfilter/listener_patch.go).

In the program's chains, Envoy's stats access logger with the same labels and expressions replaces
istio.stats, as in the lab, and an access log is added. Its labels are those of the stack with which
the mesh started, from a file: a listener that changed with them would end connections, which
istio.stats by ECDS does not. Envoy asks for istio.stats all the same, and gets the filter's own
no-op default in its place. Istio's filters that upstream's Envoy lacks are removed. Each kind of
change is printed once.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from components.attribution.discovery import STATS_TYPE
from components.attribution.groups import CLUSTER_PREFIX
from components.attribution.labels import HTTP_STATS, http_stats, opaque_stats
from components.attribution.standalone import filters_sent_apart, replace_istio_stats

Json = dict[str, Any]

ACCESS_LOG = "access.log"
"""A file in the pod's folder."""

STAT_PREFIX = "istiocustom"
EXPORTED_PREFIX = f"envoy_{STAT_PREFIX}_"
"""Istio's Envoy removes this prefix from names."""

_TYPE = "type.googleapis.com/envoy"
_MANAGER = "envoy.filters.network.http_connection_manager"
_FIELDS = {
    "vendor": "%FILTER_STATE(proxy_observability.proxy_vendor:PLAIN)%",
    "source": "%DOWNSTREAM_REMOTE_PORT%",
    "chain": "%FILTER_CHAIN_NAME%",
    "destination": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "upstream": "%UPSTREAM_REMOTE_ADDRESS%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
}
_HTTP_FIELDS = {
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "pool": "%DYNAMIC_METADATA(proxy_observability:proxy_pool)%",
}


def edited(resource: Json, labels: Mapping[str, Json]) -> tuple[Json, list[str]]:
    """Return the resource for upstream's Envoy, and what was changed.

    Args:
        resource: a listener, cluster or extension.
        labels: the configurations of istio.stats, by name.
    """
    done: list[str] = []
    if resource.get("typed_config", {}).get("@type") == STATS_TYPE:
        no_op = http_stats if resource["name"] == HTTP_STATS else opaque_stats
        resource["typed_config"] = no_op()["config_discovery"]["default_config"]
        done.append("istio.stats by ECDS -> the filter's no-op default")
    chains = [*resource.get("filter_chains", ())]
    if "default_filter_chain" in resource:
        chains.append(resource["default_filter_chain"])
    for chain in chains:
        if chain.get("name", "").startswith(CLUSTER_PREFIX):
            _count_as_istio(chain, labels)
            _log_accesses(chain)
            done.append("istio.stats of the program's chains -> stats access logger, same CEL")
        for one in chain.get("filters", ()):
            if one["name"] == _MANAGER:
                manager = one["typed_config"]
                manager["http_filters"] = _known(manager.get("http_filters", ()), done)
        chain["filters"] = _known(chain.get("filters", ()), done)
    if "filters" in resource:  # of a cluster
        resource["filters"] = _known(resource["filters"], done)
    return resource, done


def _known(filters: Iterable[Json], done: list[str]) -> list[Json]:
    kept = []
    for one in filters:
        if one["name"].startswith("istio."):
            done.append(f"{one['name']} of Istio's own configuration -> removed")
        else:
            kept.append(one)
    return kept


def _count_as_istio(chain: Json, labels: Mapping[str, Json]) -> None:
    """Add the stand-in's statistics, with the prefix that Istio's bootstrap matches."""
    without = copy.deepcopy(chain)
    replace_istio_stats(without, labels)
    loggers = without["filters"][-1]["typed_config"].get("access_log", [])
    if loggers:  # a passive chain counts by its module
        loggers[-1]["typed_config"]["stats_scope"]["prefix"] = STAT_PREFIX
    chain["filters"][-1]["typed_config"]["access_log"] = loggers
    for each in filters_sent_apart(chain):  # Envoy refuses a type that it does not know
        types = each["config_discovery"]["type_urls"]
        types[:] = [one for one in types if one != STATS_TYPE]


def _log_accesses(chain: Json) -> None:
    last = chain["filters"][-1]
    fields = _FIELDS | (_HTTP_FIELDS if last["name"] == _MANAGER else {})
    last["typed_config"].setdefault("access_log", []).append(
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
                "path": ACCESS_LOG,
                "log_format": {"json_format": fields},
            },
        }
    )


def main() -> None:
    printed: set[str] = set()
    labels = json.loads(Path(sys.argv[1]).read_text())
    for line in sys.stdin:
        resource, done = edited(json.loads(line), labels)
        for one in sorted(set(done) - printed):
            printed.add(one)
            print(one, file=sys.stderr, flush=True)
        print(json.dumps(resource) if done else "same", flush=True)


if __name__ == "__main__":
    main()
