"""`prometheus`: the store of metrics, run by this program or by the Prometheus operator.

Which keys there are depends on `mode`; a model for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, StrictBool, StrictInt, Tag

from settings.backup import Backup, BackupName
from settings.namespaces import MONITORING_NAMESPACE
from settings.section import Problem, Resources, Section, repeated, resources
from settings.thanos import Thanos
from settings.values.kubernetes import (
    DnsLabel,
    Image,
    LabelKey,
    LabelValue,
    ObjectName,
    release_from,
)
from settings.values.quantities import Bytes, Duration, format_bytes
from settings.values.texts import ServerUrl, StackName


def often_enough(seconds: int) -> int:
    # The rules take rates over 5 minutes: five samples, so that lost ones leave two.
    if seconds > 60:
        raise ValueError("is too rare for rates over 5m; write 1m or less")
    return seconds


ScrapeInterval = Annotated[Duration, AfterValidator(often_enough)]
# The file sets `storage.tsdb.retention`, which 3.11.0 corrected (Prometheus' CHANGELOG, #18200). An
# older one keeps samples a million times as long and fills its disk, or does not know the key.
PrometheusImage = Annotated[Image, release_from(3, 11)]


class FederationSource(Section):
    """Another cluster's Prometheus."""

    cluster: DnsLabel = Field(examples=["eu"])
    """The key `cluster` of that cluster's stack; only its own records are taken."""
    url: ServerUrl = Field(examples=["https://prometheus.eu.example.com"])
    """Where this cluster reaches that Prometheus; `/federate` is added. Use `https://` wherever
    others could listen: each request carries the password."""
    stack: StackName = Field(examples=["prod-eu"])
    """Pulumi stack that deployed that Prometheus: its secret output `prometheusPassword` is the
    password. `prod-eu`, or `organization/project/stack`."""


class PrometheusSettings(Section):
    """Keys of a stack of every mode."""

    create_namespace: StrictBool = True
    """Whether this program makes namespace `monitoring`. `false`: it exists, and stays as it is.
    Decide before the first `pulumi up`."""
    scrape_interval: ScrapeInterval = 15
    """Time between two scrapes of a sidecar, at most 1m."""
    node_metrics: StrictBool = True
    """Whether Prometheus asks the kubelets for the sidecars' CPU and memory and the volumes' space.
    It needs the right to read nodes and their metrics. `false`: the alerts on both cannot fire."""


class OwnPrometheus(PrometheusSettings):
    """A Prometheus that this program runs."""

    mode: Literal["server"] = "server"
    """`server`: this program runs Prometheus. `operator`: the cluster has the Prometheus operator,
    as in kube-prometheus-stack, and gets PodMonitors, a ServiceMonitor and PrometheusRules;
    Alertmanager runs only if `alertmanager.receivers` has some (docs/own-prometheus.md). The keys
    from `image` to `restoreFrom` are for `server`, those from `url` on for `operator`."""
    image: PrometheusImage = "quay.io/prometheus/prometheus:v3.16.0"
    """Image with a tag or a digest; 3.11 or newer, whose retention can be set in its file."""
    replicas: Annotated[StrictInt, Field(ge=1, le=2)] = 1
    """1 or 2. Two scrape everything twice and watch each other."""
    federate_from: tuple[FederationSource, ...] = ()
    """Other clusters whose records this Prometheus takes, under their own label `cluster`
    (docs/federation.md)."""
    retention: Duration = 7 * 86400
    """How long samples are kept."""
    retention_size: Bytes = 40 * 10**9
    """Size of blocks and write-ahead log above which the oldest blocks are deleted. Must be below
    `storage`, since compaction needs room beside them; a full disk stops Prometheus."""
    storage: Bytes = 50 * 2**30
    """Size of each replica's volume. A later change does not grow existing volumes
    (docs/runbooks/PrometheusDown.md)."""
    resources: Resources = resources(cpu=("2", "3"), memory=("4G", "6G"))
    """Requests and limits of each Prometheus, planned for 1000 pods."""
    role: Literal["leaf", "global"] = "leaf"
    """`leaf`: this cluster has crawlers. `global`: it has none, and watches the clusters of
    `federateFrom`; the program makes neither mesh nor attribution, and `vendors` serve `make which`
    alone."""
    shards: Annotated[StrictInt, Field(ge=1, le=32)] = 1
    """Servers that share the sidecars, if one cannot hold them. Each has `replicas`, `storage` and
    `resources`; with two or more, one more server adds up their sums and answers queries
    (docs/federation.md). After a change, rates are wrong for five minutes."""
    backup: Backup | None = None
    """Daily backups, off by default; `{}` takes volume snapshots at 03:00 UTC and keeps seven
    (docs/recovery.md)."""
    thanos: Thanos | None = None
    """Upload of all data to an object store by Thanos' sidecar, off by default
    (docs/money.md#the-ledger). As Thanos asks, Prometheus then compacts no blocks and opens its
    admin API: whoever has its password can then delete series, too. gRPC is in clear."""
    restore_from: BackupName | None = Field(default=None, examples=["20261130-030012"])
    """Backup with which new volumes are filled. A volume that exists stays as it is. Remove the key
    once it is restored."""

    @property
    def namespace(self) -> str:
        return MONITORING_NAMESPACE

    @property
    def shard_numbers(self) -> range:
        """The shards, counted from 0; none where one server scrapes every sidecar."""
        return range(self.shards if self.shards > 1 else 0)

    def problems(self) -> Iterator[Problem]:
        if self.retention_size >= self.storage:
            yield Problem(
                ("retentionSize",),
                f"{format_bytes(self.retention_size)} is not below storage "
                f"({format_bytes(self.storage)}); write about 80 % of it, "
                "a full disk stops Prometheus",
            )
        yield from repeated(
            (
                (("federateFrom", index, "cluster"), source.cluster)
                for index, source in enumerate(self.federate_from)
            ),
            "name each cluster once",
        )
        if self.role == "global" and self.sets("shards"):
            yield Problem(
                ("shards",), "has no effect with role: global; remove it, or correct role"
            )
        yield from self._backup_problems()
        if self.role == "global" and not self.federate_from:
            yield Problem(
                ("federateFrom",),
                "names no source, and a global server has only other clusters' records; name "
                "them, or remove prometheus.role",
            )

    def _backup_problems(self) -> Iterator[Problem]:
        # Three blocks (https://thanos.io/tip/components/sidecar.md/): while the store is away.
        if self.thanos and self.retention < 6 * 3600:
            yield Problem(
                ("retention",),
                "is shorter than Thanos' sidecar may need to upload a block; write 6h or more",
            )
        if self.restore_from and not self.backup:
            yield Problem(
                ("restoreFrom",),
                "needs prometheus.backup, which says where backups are; add it as it was",
            )
        if self.backup and self.retention < 2 * 86400:
            yield Problem(
                ("retention",),
                "is too short for the alert on stale backups, which looks back 27 hours; write 2d",
            )
        if self.shards > 1 and self.backup and self.backup.object_storage:
            yield Problem(
                ("backup", "objectStorage"),
                "copies the data of one server, and prometheus.shards makes more; "
                "use volume snapshots",
            )


class OperatorPrometheusSettings(PrometheusSettings):
    """A Prometheus that the cluster's Prometheus operator runs."""

    mode: Literal["operator"] = Field(examples=["operator"])
    url: ServerUrl = Field(examples=["http://kube-prometheus-stack-prometheus.monitoring.svc:9090"])
    """Where Grafana reaches that Prometheus."""
    login_secret: ObjectName | None = None
    """Secret in namespace `monitoring`, of type `kubernetes.io/basic-auth`, with which Grafana logs
    in there. Without it Grafana uses no login."""
    operator_labels: dict[LabelKey, LabelValue] = Field(examples=[{"release": "NAME"}])
    """Labels of the objects for the operator, which selects by them: for kube-prometheus-stack
    `release` with the name of its Helm release; `{}` if it takes every object."""
    namespace: DnsLabel = MONITORING_NAMESPACE
    """Namespace of that Prometheus. It gets the Secret `alertmanager-login`, and simulated vendors
    admit its scrapes."""

    @property
    def role(self) -> Literal["leaf"]:
        return "leaf"

    @property
    def shards(self) -> int:
        return 1

    @property
    def federate_from(self) -> tuple[FederationSource, ...]:
        return ()

    @property
    def backup(self) -> None:
        return None

    @property
    def thanos(self) -> None:
        return None

    def problems(self) -> Iterator[Problem]:
        for key in self.operator_labels:
            if key.startswith("app.kubernetes.io/"):
                yield Problem(
                    ("operatorLabels", key),
                    "is a label that this program sets itself; have the operator select another",
                )


def kind_of_prometheus(section: object) -> str | None:
    """Return the tag of the model that reads a section, None for a mode there is not."""
    if isinstance(section, Mapping):
        mode = section.get("mode", "server")
    else:
        mode = getattr(section, "mode", "server")
    return f"<{mode}>" if mode in ("server", "operator") else None


Prometheus = Annotated[
    Annotated[OwnPrometheus, Tag("<server>")]
    | Annotated[OperatorPrometheusSettings, Tag("<operator>")],
    Discriminator(
        kind_of_prometheus, custom_error_type="mode", custom_error_message="server, operator"
    ),
]
