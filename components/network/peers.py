"""Who talks and who is talked to: pods, addresses, and the ports between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from settings.values.addresses import IPNetwork, PortRange

Protocol = Literal["TCP", "UDP"]


@dataclass(frozen=True, kw_only=True)
class Pods:
    """Some pods of the cluster."""

    name: str
    """In words. A group with a policy of its own gives the policy this name."""
    namespaces: tuple[str, ...] = ()
    """None means every namespace."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """None mean every pod there."""
    unruled: bool = False
    """Whether this end of a flow gets no rule: they are another team's pods, or another flow has it
    already."""

    def covers(self, pods: Pods) -> bool:
        """Whether all of `pods` are among these."""
        everywhere = not self.namespaces
        return (everywhere or {*pods.namespaces} <= {*self.namespaces}) and (
            self.labels.items() <= pods.labels.items()
        )


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Some addresses, in the cluster or outside; without `cidrs` all of them."""

    name: str
    cidrs: tuple[IPNetwork, ...] = ()
    without: tuple[IPNetwork, ...] = ()
    """Parts of `cidrs` that are left out."""


@dataclass(frozen=True, kw_only=True)
class OwnNode:
    """The node that a pod runs on. Kubernetes admits it to the pod, whatever policies say."""

    name: str


Peer = Pods | Addresses | OwnNode


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Connections that something needs."""

    source: Peer
    target: Peer
    ports: tuple[PortRange, ...] = ()
    """The ports of the pod or machine that is reached, not of a Service before it. None means all,
    of every protocol."""
    protocols: tuple[Protocol, ...] = ("TCP",)
    reason: str
    """What it is for, as a full sentence."""
    apart: str = ""
    """Name of a policy of its own. Lists of one policy are compared by position, so a vendor added
    to a common one would show all later vendors as changed."""


def port(number: int) -> tuple[PortRange, ...]:
    return (PortRange(number, number),)
