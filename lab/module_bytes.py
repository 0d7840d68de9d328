"""The bytes that the passive module saw go by, beside those of Envoy's own sockets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from books.comparison import WIRE_TOLERANCE
from components.attribution.groups import CLUSTER_PREFIX
from lab.loopback import get_text
from lab.system import Lab

METRICS = {
    "sent": ("istio_proxy_request_bytes_total", "envoy_cluster_upstream_cx_tx_bytes_total"),
    "received": ("istio_proxy_response_bytes_total", "envoy_cluster_upstream_cx_rx_bytes_total"),
}
"""The module's counter and the cluster's, by direction as the crawler sees it."""

SAMPLE = re.compile(
    rf'^(\w+)\{{.*(?:proxy_vendor="|cluster_name="{CLUSTER_PREFIX})([a-z0-9-]+)".*\}} (\d+)$',
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class ModuleBytes:
    """What both counted of one passive vendor in one direction."""

    vendor: str
    direction: str
    module: int
    cluster: int

    @property
    def apart(self) -> float:
        """The difference as a share of the larger figure."""
        return abs(self.module - self.cluster) / max(self.module, self.cluster, 1)

    @property
    def finding(self) -> str:
        """One line if the two differ by more than the bytes of connections that were reset."""
        if self.apart <= WIRE_TOLERANCE and self.module:
            return ""
        difference = self.module - self.cluster
        return (
            f"{self.vendor} module bytes {self.direction}: module {self.module} - cluster "
            f"{self.cluster} = {difference:+d}"
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "difference": self.module - self.cluster}


def module_bytes(lab: Lab) -> Sequence[ModuleBytes]:
    """Return both figures of every passive vendor, from one page of the sidecar."""
    page = get_text(f"{lab.envoy_url}/stats/prometheus")
    passive = sorted({one.vendor for one in lab.endpoints if one.visible == "passive"})
    found = []
    for direction, metrics in METRICS.items():
        module, cluster = (_by_vendor(page, metric) for metric in metrics)
        found += [
            ModuleBytes(
                vendor=vendor,
                direction=direction,
                module=module[vendor],
                cluster=cluster[vendor],
            )
            for vendor in passive
        ]
    return found


def _by_vendor(page: str, metric: str) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for name, vendor, value in SAMPLE.findall(page):
        if name == metric:
            found[vendor] += int(value)
    return found
