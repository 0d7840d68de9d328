"""Crawlers' sidecars read this as they start, from a ProxyConfig in each crawlers' namespace.

Nothing of the mesh's own values is needed, and no other pod of the mesh changes. istiod's injector
writes the `environmentVariables` of a ProxyConfig into the sidecar's container, and pilot-agent
reads annotations from a variable whose name begins with ISTIO_METAJSON_ (Istio 1.30 and 1.31:
pkg/bootstrap/config.go, GetNodeMetaData). A pod's own annotations win over these.

Of two ProxyConfigs without a selector in one namespace istiod takes the older alone, and so of two
that select one pod (pilot/pkg/model/proxy_config.go). Variables of the root namespace, of the
namespace and of the pod's selector are merged by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from components.attribution.envoy import Json
from components.attribution.stats import EXTRA_STAT_TAGS, bucket_annotation, inclusion_regexps

PROXY_CONFIG = "proxy-observability"
VARIABLE = "ISTIO_METAJSON_PROXY_OBSERVABILITY"
ANNOTATIONS = "ANNOTATIONS"
"""Where pilot-agent has a pod's annotations in what it reads (pkg/model/proxy.go)."""

STATS = "sidecar.istio.io/statsInclusionRegexps"
STAT_TAGS = "sidecar.istio.io/extraStatTags"
BUCKETS = "sidecar.istio.io/statsHistogramBuckets"


def sidecar_annotations(buckets: Sequence[int], also: Sequence[str] = ()) -> dict[str, str]:
    """Return the annotations by which a sidecar exports the product's statistics.

    STATS takes the place of the mesh's own `proxyStatsMatcher.inclusionRegexps`; the mesh's
    prefixes, suffixes and tags stay in force (getStatsOptions).

    Args:
        buckets: the set-up time's bounds in milliseconds.
        also: full names of further statistics, with `*` for any text and without commas.
    """
    return {
        STATS: ",".join([*inclusion_regexps(), *map(_expression, also)]),
        # Without passive vendors too: a sidecar that started before them would export the module's
        # counts without labels. They cost an unused sidecar nothing but a comparison each for a
        # new statistic.
        STAT_TAGS: ",".join(EXTRA_STAT_TAGS),
        BUCKETS: bucket_annotation(buckets),
    }


def _expression(name: str) -> str:
    return ".*".join(re.escape(part) for part in name.split("*"))


def proxy_config(
    annotations: Mapping[str, str], selector: Mapping[str, str], *, captures_dns: bool
) -> Json:
    """Return the ProxyConfig's spec.

    Args:
        annotations: what a sidecar reads as if its pod had them.
        selector: labels of the pods; empty means the whole namespace.
        captures_dns: whether the sidecars answer DNS.
    """
    workloads = {"selector": {"matchLabels": dict(selector)}} if selector else {}
    dns = {"ISTIO_META_DNS_CAPTURE": "true"} if captures_dns else {}
    text = json.dumps({ANNOTATIONS: dict(annotations)})
    # The injector's template puts the value between double quotes of YAML, as it is. Unescaped, it
    # would be no YAML, and no pod of the namespace could be made.
    return {**workloads, "environmentVariables": {**dns, VARIABLE: json.dumps(text)[1:-1]}}


def annotations_given(variable: str) -> Mapping[str, str]:
    """Return the annotations in the variable of an injected sidecar; none if it cannot be read."""
    try:
        found = json.loads(variable)[ANNOTATIONS]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
