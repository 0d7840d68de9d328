"""`prometheus.backup`: copies of Prometheus' volumes, each day, outside the volumes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, StrictInt, StrictStr

from settings.section import Problem, Resources, Section, resources
from settings.values.checked_text import Text
from settings.values.kubernetes import Image, ObjectName

_STEP = r"(/[1-9][0-9]?)?"
_MINUTE, _HOUR = "[0-5]?[0-9]", "(?:[01]?[0-9]|2[0-3])"
_MINUTES, _HOURS = (rf"(\*|{one}(-{one})?){_STEP}" for one in (_MINUTE, _HOUR))


def forwards(schedule: str) -> str:
    for first, last in re.findall("([0-9]+)-([0-9]+)", schedule):
        if int(first) > int(last):
            raise ValueError(f"has a range that ends before it begins; write {last}-{first}")
    return schedule


DailySchedule = Annotated[
    StrictStr,
    Text(
        "schedule",
        rf"{_MINUTES}(,{_MINUTES})* {_HOURS}(,{_HOURS})* \* \* \*",
        "is not the time of a daily job, and an alert comes after 26 hours without a backup; "
        'write minute and hour in UTC, like "0 3 * * *"',
    ),
    AfterValidator(forwards),
]
BackupName = Annotated[
    StrictStr,
    Text(
        "name of a backup",
        r"[0-9]{8}-[0-9]{6}",
        'is not the name of a backup; write one like "20261130-030012" (docs/recovery.md)',
    ),
]
StoragePath = Annotated[
    StrictStr,
    Text(
        "bucket and folder",
        r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*",
        "is no folder of a bucket; write bucket/folder, without an address or a login",
    ),
]


class ObjectStorage(Section):
    """A folder of an object store, which rclone writes to."""

    path: StoragePath = Field(examples=["backups/prod"])
    """Bucket and folder. One stack alone may use it: backups there are deleted beyond `keep`."""
    secret: ObjectName = Field(examples=["backup-storage"])
    """Secret in namespace `monitoring` that you make: its key `rclone.conf` configures a remote
    named `backup` (https://rclone.org/docs/), with the right to list, read, write and delete."""
    image: Image = "docker.io/rclone/rclone:1.74.4"
    """The image that has `/usr/local/bin/rclone`."""


class Backup(Section):
    """Snapshots of Prometheus' volumes, or of its data in an object store."""

    schedule: DailySchedule = "0 3 * * *"
    """When, in UTC: minute and hour, as cron writes them."""
    keep: Annotated[StrictInt, Field(ge=1, le=90)] = 7
    """How many backups are kept. Older ones are deleted after a new one is complete."""
    volume_snapshot_class: ObjectName | None = None
    """VolumeSnapshotClass of the snapshots; without it the cluster's default."""
    object_storage: ObjectStorage | None = None
    """For clusters without VolumeSnapshots, and for backups that outlive the cluster. It opens
    Prometheus' admin API: whoever has its password can then delete series, too."""
    image: Image = "docker.io/library/python:3.11-slim"
    """A Python image; the program needs nothing else."""
    resources: Resources = resources(cpu=("50m", "1"), memory=("100M", "500M"))
    """Requests and limits of the backup's pod, and of the container that restores."""

    def problems(self) -> Iterator[Problem]:
        if self.object_storage and self.volume_snapshot_class:
            yield Problem(
                ("volumeSnapshotClass",),
                "has no effect with objectStorage; remove one of both",
            )
