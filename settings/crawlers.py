"""`crawlers`: the pods whose connections are attributed to vendors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt

from settings.section import Problem, Section, repeated
from settings.values.kubernetes import DnsLabel, EgressHost, LabelKey, LabelValue


def usable_namespace(namespace: str) -> str:
    if namespace == "default" or namespace.startswith("kube-"):
        raise ValueError("belongs to Kubernetes; put the crawlers in a namespace of their own")
    return namespace


CrawlerNamespace = Annotated[DnsLabel, AfterValidator(usable_namespace)]


def named_team(team: str) -> str:
    if not team:
        raise ValueError("is what a pod without the label has; remove it")
    return team


TeamName = Annotated[LabelValue, AfterValidator(named_team)]


Mode = Literal["full", "observe", "off"]


class Crawlers(Section):
    """The pods whose connections are attributed."""

    namespaces: Annotated[tuple[CrawlerNamespace, ...], Field(min_length=1)] = ("crawlers",)
    """Namespaces of the crawlers. Each gets sidecars and the attribution. Not `default`, `kube-*`,
    `monitoring` or `istio.rootNamespace`."""
    create_namespaces: StrictBool = True
    """Whether this program makes those namespaces. `false`: they exist, and the program adds only
    the label that injects sidecars."""
    selector: dict[LabelKey, LabelValue] = Field(default={})
    """Labels that a pod must have to be attributed. Empty: every pod."""
    mode: Mode = "full"
    """How much runs in these pods' sidecars. `off`, the kill switch, cuts nothing: every filter
    chain stays, and what ran in it does nothing and counts nothing. `observe`: every vendor as with
    `inspect: connections`. Both keep the bytes and connections of Envoy's clusters
    (docs/rollout.md)."""
    pod_security: Literal["privileged", "baseline", "restricted"] = "baseline"
    """Pod Security Standard of the namespaces that this program makes. `baseline` and `restricted`
    need `istio.cni`: they refuse istio-init's NET_ADMIN."""
    dns_capture: StrictBool | None = None
    """Whether the crawlers' sidecars answer DNS, which names in `hosts` need. Default: if the stack
    has such a name. It takes effect as a pod starts."""
    sidecar_resource: Literal["create", "none"] | None = None
    """Whether this program makes the Sidecar resource of the crawlers' namespaces, which says what
    of the mesh their sidecars know; a namespace can have but one. `none`: one of others stays as it
    is and must let crawlers know their own namespace (`./*`) if the stack has `hosts`; without any,
    mTLS to other namespaces stays, and an HTTP Service there on a vendor's port takes the port from
    the attribution. Default: `create` if this program installs Istio, or `egressHosts` or
    `network.egress` ask for one."""
    egress_hosts: tuple[EgressHost, ...] = ()
    """Mesh services in other namespaces that crawlers call, as in the egress of Istio's Sidecar.
    Services not listed are reached without mTLS and routing. A listed Service that uses a vendor's
    port takes that port from the attribution."""
    team_label: LabelKey | None = None
    """Label of pods that names their team: the metrics' label `team`, by which money is shared out.
    Default: a pod's team is its namespace. A pod without it has the team `other`."""
    teams: tuple[TeamName, ...] = ()
    """The values of `teamLabel` that count; any other is `other`. Empty: every value, each of which
    multiplies the recorded series."""
    workload_label: LabelKey = "service.istio.io/workload-name"
    """Label of pods that names their workload, the metrics' label `source_workload`; default:
    Istio's own. Each value multiplies the recorded series, so name none that differs from Job to
    Job. A pod without it has the name of its Deployment, StatefulSet, DaemonSet or CronJob; of
    others only the kind counts, as `(Job)` or `(Pod)` (docs/series.md)."""
    expected_pods: Annotated[StrictInt, Field(ge=1, le=10**9)] = 1000
    """Crawler pods at the busiest hour. The threshold of the alert on ingestion and the stack
    output `expected` follow from it, and a Prometheus too small for them is refused. More pods are
    not refused."""

    def problems(self) -> Iterator[Problem]:
        yield from repeated(
            (("namespaces", index), namespace) for index, namespace in enumerate(self.namespaces)
        )
        yield from repeated((("teams", index), team) for index, team in enumerate(self.teams))
        if self.teams and not self.team_label:
            yield Problem(
                ("teams",), f"{list(self.teams)} has no effect without teamLabel; name the label"
            )
        if not self.create_namespaces and self.sets("pod_security"):
            yield Problem(
                ("podSecurity",),
                f"{self.pod_security!r} has no effect where createNamespaces is false; "
                "remove it, and set the level on the namespaces themselves",
            )
