"""PrometheusBackup: a CronJob that backs up Prometheus' data each day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.batch import v1 as batch
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.rbac import v1 as rbac

from backups.names import JOB_SECONDS
from components.backup.containers import rclone_container, store_mounts
from components.backup.plan import COPIED_POD, PROGRAM, BackupPlan
from components.base import ClusterComponent
from components.labels import labels, pods_of
from components.pods import config_source, pod_template, secret_source
from components.prometheus.config import BACKUP_APP, BACKUP_PORT, PROMETHEUS_APP
from components.prometheus.servers import AUTH, DATA, TLS
from components.tls import secret_name

# It cannot read what a snapshot holds. `list` is how it waits and finds the old ones.
SNAPSHOT_TAKER = [
    rbac.PolicyRuleArgs(
        api_groups=["snapshot.storage.k8s.io"],
        resources=["volumesnapshots"],
        verbs=["create", "list", "delete"],
    )
]


@dataclass(frozen=True, kw_only=True)
class PrometheusBackupArgs:
    """The plan of the backup, and the login with which the job asks Prometheus."""

    namespace: pulumi.Input[str]
    plan: BackupPlan
    login: pulumi.Input[str]
    """Secret with the login of Prometheus."""


class PrometheusBackup(ClusterComponent):
    """A CronJob that makes a backup, deletes those beyond `keep`, and tells Prometheus.

    If it fails, nothing is deleted, and PrometheusBackupStale comes 26 hours after the last good
    one.
    """

    def __init__(
        self, name: str, args: PrometheusBackupArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:backup:PrometheusBackup"
        super().__init__(token, name, BACKUP_APP, args.namespace, opts)
        account = core.ServiceAccount(
            f"{name}-account",
            metadata=self.metadata(BACKUP_APP),
            automount_service_account_token=False,  # the pod asks for it
            opts=self.child,
        )
        storage = args.plan.storage
        if storage is None:
            takers = [self.account(BACKUP_APP)]
            self.grant("snapshots", "Role", BACKUP_APP, SNAPSHOT_TAKER, takers, args.namespace)
        files = self.config_map("program", args.plan.program.data)
        mounts = {"program": (PROGRAM, config_source(files, args.plan.program.items))}
        pod: dict[str, Any] = {"automount_service_account_token": storage is None}
        if storage:
            mounts |= store_mounts(storage)
            mounts["auth"] = (AUTH, secret_source(args.login))
            if args.plan.with_tls:
                mounts["tls"] = (TLS, secret_source(secret_name(PROMETHEUS_APP)))
            mounts["data"] = (DATA, _claim(f"data-{COPIED_POD}"))
            pod["affinity"] = _beside_prometheus()
        template = pod_template(
            "backup",
            args.plan.section,
            labels=labels(BACKUP_APP),
            mounts=mounts,
            ports={"metrics": BACKUP_PORT},
            init=[rclone_container(args.plan.section, storage)] if storage else [],
            pod={"service_account_name": account.metadata.name, "restart_policy": "Never", **pod},
            command=[*args.plan.command],
            working_dir=PROGRAM,
        )
        self._cron_job(args.plan.section.schedule, template)
        self.register_outputs({})

    def _cron_job(self, schedule: str, template: core.PodTemplateSpecArgs) -> None:
        batch.CronJob(
            f"{self.prefix}-job",
            metadata=self.metadata(BACKUP_APP),
            spec=batch.CronJobSpecArgs(
                schedule=schedule,
                time_zone="Etc/UTC",  # else the control plane's, which nobody can see
                concurrency_policy="Forbid",
                successful_jobs_history_limit=1,
                failed_jobs_history_limit=1,
                job_template=batch.JobTemplateSpecArgs(
                    metadata=meta.ObjectMetaArgs(labels=self.labels),
                    spec=batch.JobSpecArgs(
                        backoff_limit=2,
                        active_deadline_seconds=JOB_SECONDS,
                        template=template,
                    ),
                ),
            ),
            opts=self.child,
        )


def _claim(name: str) -> dict[str, Any]:
    return {"persistent_volume_claim": core.PersistentVolumeClaimVolumeSourceArgs(claim_name=name)}


def _beside_prometheus() -> core.AffinityArgs:
    """Run on the node of the pod whose volume is copied: no other can mount it meanwhile."""
    own_name = {"statefulset.kubernetes.io/pod-name": COPIED_POD}
    term = core.PodAffinityTermArgs(
        label_selector=meta.LabelSelectorArgs(match_labels={**pods_of(PROMETHEUS_APP), **own_name}),
        topology_key="kubernetes.io/hostname",
    )
    return core.AffinityArgs(
        pod_affinity=core.PodAffinityArgs(
            required_during_scheduling_ignored_during_execution=[term]
        )
    )
