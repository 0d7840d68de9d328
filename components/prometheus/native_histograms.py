"""Set-up times stored as native histograms, recorded under the names that boards and alerts read.

The shipped rules read `istio_proxy_setup_milliseconds_bucket`, which does not exist then. These
rules record `proxy_vendor_le:...:rate5m` bucket by bucket instead, so that quantiles, boards,
alerts and a federating Prometheus need not know how the times are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.attribution.stats import SETUP_METRIC

HISTOGRAMS = f"proxy_vendor_visibility:istio_{SETUP_METRIC}:rate5m"
SIDECARS_PER_HISTOGRAM = "cluster:sidecars_per_histogram:ratio"
BUCKETS = f"proxy_vendor_le:istio_{SETUP_METRIC}_bucket:rate5m"


def native_histogram_rules(buckets: Sequence[int]) -> dict[str, Any]:
    """Return the rule file for these bounds in milliseconds, as plain values."""
    histograms = {
        "record": HISTOGRAMS,
        "expr": "sum by (cluster, proxy_vendor, proxy_visibility) "
        f'(rate(istio_{SETUP_METRIC}{{job="sidecars", proxy_vendor!=""}}[5m])) '
        f"* on (cluster) group_left () {SIDECARS_PER_HISTOGRAM}",
    }
    rules = [histograms, *(_bucket(str(float(bound)), str(bound)) for bound in buckets)]
    return {
        "groups": [{"name": "native_histograms", "rules": [*rules, _bucket("+Inf", "+Inf")]}],
    }


def _bucket(le: str, bound: str) -> dict[str, Any]:
    """Record the answers within `bound`, exactly: it is a bound of the histogram itself."""
    vendors = f"sum by (cluster, proxy_vendor) ({HISTOGRAMS})"
    return {
        "record": BUCKETS,
        # Without traffic the share is NaN, and a sum over shards would be NaN too: record 0 then.
        "expr": f"(histogram_fraction(-Inf, {bound}, {vendors}) * histogram_count({vendors}) >= 0) "
        f"or 0 * histogram_count({vendors})",
        "labels": {"le": le},
    }
