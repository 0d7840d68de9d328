"""The containers that backing up and restoring share."""

from __future__ import annotations

from components.backup.plan import (
    COPY_RCLONE,
    PROGRAM,
    RCLONE_CONFIG,
    TOOLS,
    restore_command,
)
from components.pods import InitContainer, Mounts, empty_source, secret_source
from settings.backup import Backup, ObjectStorage

TOOLS_MOUNT: Mounts = {"tools": (TOOLS, empty_source("200Mi"))}


def store_mounts(storage: ObjectStorage) -> Mounts:
    """Return rclone and the configuration that the user made."""
    return {**TOOLS_MOUNT, "rclone": (RCLONE_CONFIG, secret_source(storage.secret))}


def rclone_container(backup: Backup, storage: ObjectStorage) -> InitContainer:
    """Return the container that brings rclone into the pod."""
    return InitContainer(
        name="rclone",
        image=storage.image,
        resources=backup.resources,
        command=COPY_RCLONE,
        mounts=TOOLS_MOUNT,
    )


def restoring(
    backup: Backup, storage: ObjectStorage, name: str, mounts: Mounts
) -> tuple[InitContainer, ...]:
    """Return the containers that fill an empty data folder from the backup of this name.

    Args:
        mounts: the data folder, and the program at PROGRAM.
    """
    return (
        rclone_container(backup, storage),
        InitContainer(
            name="restore",
            image=backup.image,
            resources=backup.resources,
            command=restore_command(storage, name),
            working_dir=PROGRAM,
            mounts={**mounts, **store_mounts(storage)},
        ),
    )
