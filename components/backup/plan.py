"""The commands that back up and restore Prometheus' data, and the folders they read; pure.

Both run the program in backups/.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.prometheus.config import ACCOUNT, BACKUP_PORT, PROMETHEUS_APP, PROMETHEUS_PORT
from components.prometheus.servers import AUTH, DATA, TLS, Server, claims_of
from components.repository_files import ProgramFiles, backup_files
from components.tls import CA_KEY, server_name
from settings.backup import Backup, ObjectStorage
from settings.namespaces import MONITORING_NAMESPACE
from settings.prometheus import OwnPrometheus

PROGRAM = "/program"
TOOLS = "/tools"
"""Where an init container copies rclone to: Python's image has none, and rclone's no Python."""
RCLONE_CONFIG = "/etc/rclone"
REMOTE = "backup"
"""The remote that the user's rclone.conf configures."""
COPY_RCLONE = ("cp", "/usr/local/bin/rclone", f"{TOOLS}/rclone")

COPIED_POD = f"{PROMETHEUS_APP}-0"
"""Replicas scrape the same targets: a copy of one restores both."""


@dataclass(frozen=True, kw_only=True)
class BackupPlan:
    """The settings, the program and the command of the CronJob."""

    section: Backup
    program: ProgramFiles
    command: tuple[str, ...]
    with_tls: bool = False
    """Whether Prometheus speaks TLS, and the pod needs its CA."""

    @property
    def storage(self) -> ObjectStorage | None:
        """None where the cluster takes volume snapshots."""
        return self.section.object_storage


def backup_plan(
    prometheus: OwnPrometheus, servers: tuple[Server, ...], *, with_tls: bool
) -> BackupPlan | None:
    """Return what backs up these servers, None for a stack without backups."""
    backup = prometheus.backup
    if backup is None:
        return None
    if backup.object_storage:
        action = (
            *("objects", *_store(backup.object_storage)),
            f"--prometheus={_address(with_tls=with_tls)}",
            f"--login={AUTH}",
            *((f"--ca={TLS}/{CA_KEY}",) if with_tls else ()),
        )
    else:
        claims = [
            claim for server in servers for claim in claims_of(server.name, prometheus.replicas)
        ]
        action = (
            *("volumes", f"--namespace={MONITORING_NAMESPACE}", f"--account={ACCOUNT}"),
            *(f"--claim={claim}" for claim in claims),
            *([f"--class={chosen}"] if (chosen := backup.volume_snapshot_class) else []),
        )
    return BackupPlan(
        section=backup,
        with_tls=with_tls,
        program=backup_files(),
        command=(
            *("python", "-m", "backups", *action),
            f"--keep={backup.keep}",
            f"--port={BACKUP_PORT}",
            # Each replica of the queried server evaluates the alert on what it scraped itself.
            f"--scrapers={prometheus.replicas}",
        ),
    )


def _address(*, with_tls: bool) -> str:
    """Return the URL of the one replica; the certificate has its full name."""
    host = f"{COPIED_POD}.{PROMETHEUS_APP}-pods"
    return f"{f'https://{server_name(host)}' if with_tls else f'http://{host}'}:{PROMETHEUS_PORT}"


def restore_command(storage: ObjectStorage, backup: str) -> tuple[str, ...]:
    """Return what fills the empty data folder of a new pod."""
    return ("python", "-m", "backups", "restore", *_store(storage), f"--backup={backup}")


def _store(storage: ObjectStorage) -> tuple[str, ...]:
    return (
        f"--rclone={TOOLS}/rclone",
        f"--rclone-config={RCLONE_CONFIG}/rclone.conf",
        f"--remote={REMOTE}:{storage.path}",
        f"--data={DATA}",
    )
