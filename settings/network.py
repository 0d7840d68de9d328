"""`network`: the cluster's own addresses."""

from __future__ import annotations

from settings.section import Section
from settings.values.addresses import Network


class ClusterNetwork(Section):
    """The cluster's own addresses, which can be no vendor's."""

    pod_cidrs: tuple[Network, ...] = ()
    """The cluster's pod ranges. A vendor's range that overlaps one is refused: traffic between pods
    would count as the vendor's."""
    service_cidrs: tuple[Network, ...] = ()
    """The cluster's Service ranges. A vendor's range that overlaps one is refused too."""
