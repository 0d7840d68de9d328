"""Set-up times stored as native histograms, recorded under the names that all else reads.

The shipped rules read `istio_proxy_setup_milliseconds_bucket`, of which there is then none. These
give its record `proxy_vendor_le:...:rate5m` back, bucket by bucket, so that quantiles, boards,
alerts and whoever federates the records need not know.
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
    return {
        "groups": [
            {
                "name": "native_histograms",
                "rules": [
                    {
                        "record": HISTOGRAMS,
                        "expr": "sum by (proxy_vendor, proxy_visibility) "
                        f'(rate(istio_{SETUP_METRIC}{{proxy_vendor!=""}}[5m])) '
                        f'* on () group_left () {SIDECARS_PER_HISTOGRAM}{{cluster=""}}',
                    },
                    *(_bucket(str(float(bound)), str(bound)) for bound in buckets),
                    _bucket("+Inf", "+Inf"),
                ],
            }
        ]
    }


def _bucket(le: str, bound: str) -> dict[str, Any]:
    """Record what is at most `bound`, exactly: it is one of the histogram's own."""
    # Of this cluster: another's, if it is read here at all, has the label.
    vendors = f'sum by (proxy_vendor) ({HISTOGRAMS}{{cluster=""}})'
    return {
        "record": BUCKETS,
        # Of no traffic the share is NaN, which would make NaN of a sum over shards: 0 then.
        "expr": f"(histogram_fraction(-Inf, {bound}, {vendors}) * histogram_count({vendors}) >= 0) "
        f"or 0 * histogram_count({vendors})",
        "labels": {"le": le},
    }
