"""Whom crawlers reach, who reaches them, and what an edit changes of that; pure."""

from __future__ import annotations

from collections.abc import Iterator

from components.network.crawlers import limits_egress, limits_ingress
from settings.stack import StackSettings


def reach_changes(old: StackSettings, new: StackSettings) -> Iterator[str]:
    """Yield a line for each change of the Sidecar resource or of the NetworkPolicies."""
    if not (old.has_crawlers and new.has_crawlers):
        return
    yield from _sidecar(old, new)
    if limits_egress(old) != limits_egress(new):
        whom = (
            "vendors, destinations, crawlers.egressHosts and each other"
            if limits_egress(new)
            else "every address"
        )
        yield (
            f"network.egress {old.network.egress} → {new.network.egress}: crawlers may connect to "
            f"{whom}; open connections to nobody's address end"
        )
    if limits_ingress(old) != limits_ingress(new):
        who = "crawlers and Prometheus alone" if limits_ingress(new) else "everybody"
        yield f"network.ingress: {who} may connect to crawlers"


def _sidecar(old: StackSettings, new: StackSettings) -> Iterator[str]:
    if old.makes_sidecar != new.makes_sidecar:
        yield (
            "a Sidecar resource comes: crawlers call services of other namespaces without mTLS "
            "and routing, but those in crawlers.egressHosts"
            if new.makes_sidecar
            else "the Sidecar resource goes: crawlers know every service of the mesh, and one on a "
            "vendor's port takes it from the attribution"
        )
    elif new.makes_sidecar:
        hosts = [settings.crawlers.egress_hosts for settings in (old, new)]
        for host in hosts[0]:
            if host not in hosts[1]:
                yield f"{host}: crawlers call it without mTLS and routing from now on"
        for host in hosts[1]:
            if host not in hosts[0]:
                yield f"{host}: crawlers call it with mTLS and routing from now on"
