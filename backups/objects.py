"""Prometheus' own snapshots, copied to an object store by rclone, and back.

Prometheus writes a snapshot beside its data: hard links to its blocks, and a new block with what is
in memory. So the copy shares Prometheus' volume.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import http.client
import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backups.names import JOB_SECONDS, BackupError, is_name, new_name, outdated

MARK = "complete.json"
"""Name of a file. In a folder of Prometheus' snapshots it says that this program had the snapshot
made. In the object store it says that the backup is complete, since rclone copies it last."""
RESTORING = "restoring"
"""Folder that exists while a restoration is unfinished."""
SNAPSHOT_SECONDS = 900.0  # it writes all that is in memory as a block

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder of a remote that rclone knows."""

    rclone: Sequence[str]
    """The program and its configuration."""
    remote: str
    """`backup:bucket/folder`."""

    def run(self, *arguments: str) -> str:
        """Run rclone; return what it prints.

        Raises:
            BackupError: it failed, in its own words.
        """
        command = [*self.rclone, *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False
            )
        except OSError as error:
            raise BackupError(f"{command[0]}: {error.strerror}") from None
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise BackupError(f"rclone {arguments[0]} {self.remote}: {last}")
        return done.stdout

    def backups(self) -> list[str]:
        listed = self.run("lsf", "--dirs-only", self.remote).splitlines()
        return sorted(name for line in listed if is_name(name := line.rstrip("/")))

    def complete(self) -> list[str]:
        """Return the backups whose every file has arrived."""
        listed = self.run(
            *("lsf", "--files-only", "--recursive", "--max-depth=2"),
            *(f"--include=/*/{MARK}", self.remote),
        )
        return sorted(filter(is_name, (line.partition("/")[0] for line in listed.splitlines())))


def back_up(
    store: Store,
    *,
    prometheus: str,
    login: Path,
    data: Path,
    keep: int,
    say: Say,
    ca: Path | None = None,
) -> None:
    """Snapshot, copy, then delete older backups.

    Args:
        login: folder with `username` and `password`.
        ca: file with the CA of an `https` Prometheus; None for the image's own CAs.

    Raises:
        BackupError: Prometheus or rclone refuses. Nothing is deleted in the object store.
    """
    with _alone(data):
        _delete_left_over(data)
        backup = new_name()
        folder = data / "snapshots" / snapshot(prometheus, login, ca)
        if not folder.is_dir():
            reason = "does not exist; this pod has another volume than Prometheus"
            raise BackupError(f"{folder}: {reason}")
        try:
            (folder / MARK).write_text(json.dumps({"backup": backup, "of": prometheus}))
            store.run("copy", f"--exclude=/{MARK}", str(folder), f"{store.remote}/{backup}")
            store.run("copyto", str(folder / MARK), f"{store.remote}/{backup}/{MARK}")
        finally:
            # Its hard links would keep blocks on the volume that Prometheus deletes.
            shutil.rmtree(folder, ignore_errors=True)
        say(f"backup {backup}: complete")
        for old in outdated(store.backups(), store.complete(), keep, backup):
            store.run("purge", f"{store.remote}/{old}")
            say(f"backup {old}: deleted")


def restore(store: Store, backup: str, data: Path, say: Say) -> None:
    """Fill an empty data folder from a backup; leave any other folder as it is.

    Raises:
        BackupError: there is no such backup, or rclone fails. The next start goes on from there.
    """
    loading = data / RESTORING
    # A new ext4 volume has a folder of its own.
    own = {RESTORING, "lost+found"}
    if not loading.exists() and any(path.name not in own for path in data.iterdir()):
        say(f"{data}: has data, which stays; backup {backup} is for an empty volume")
        return
    complete = store.complete()
    if backup not in complete:
        there = ", ".join(complete) or "none"
        raise BackupError(f"{store.remote}/{backup}: is not there or not complete; there: {there}")
    loading.mkdir(exist_ok=True)
    store.run("copy", f"--exclude=/{MARK}", f"{store.remote}/{backup}", str(loading))
    for path in loading.iterdir():
        if (data / path.name).exists():  # moved by a start that was interrupted
            shutil.rmtree(data / path.name)
        path.rename(data / path.name)
    loading.rmdir()
    say(f"{data}: restored from backup {backup}")


def snapshot(prometheus: str, login: Path, ca: Path | None) -> str:
    """Have Prometheus write a snapshot; return its folder's name."""
    url = f"{prometheus}/api/v1/admin/tsdb/snapshot"
    user, password = ((login / name).read_text().strip() for name in ("username", "password"))
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(
        url, method="POST", headers={"Authorization": f"Basic {token}"}
    )
    try:
        trust = ssl.create_default_context(cafile=ca) if ca else None
        with urllib.request.urlopen(request, timeout=SNAPSHOT_SECONDS, context=trust) as answer:
            return str(json.load(answer)["data"]["name"])
    except urllib.error.HTTPError as error:
        text = " ".join(error.read().decode(errors="replace").split())[:200]
        raise BackupError(f"{url}: {error.code} {text}") from None
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{url}: answers, but not as a Prometheus does") from None
    except (OSError, http.client.HTTPException) as error:
        raise BackupError(f"{url}: {error}") from None


@contextlib.contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Keep others from this volume's backups: a job made by hand may start beside the nightly one.

    It would delete the snapshot that is being copied, and the half of it that has arrived.
    """
    folder = os.open(data, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupError(f"{data}: another backup runs; wait until it is complete") from None
    finally:
        os.close(folder)


def _delete_left_over(data: Path) -> None:
    """Delete what a backup that was killed has left, and no snapshot that a person made.

    A young one may be a running job's, started by a person.
    """
    for mark in (data / "snapshots").glob(f"*/{MARK}"):
        if mark.stat().st_mtime < time.time() - JOB_SECONDS:
            shutil.rmtree(mark.parent)
