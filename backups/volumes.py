"""Volume snapshots: one VolumeSnapshot for each claim, by the API server.

A snapshot is what the volume holds at one moment. Prometheus runs on, and after a restore it
replays the write-ahead log as after a power cut.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backups.names import BackupError, new_name, outdated

Json = dict[str, Any]

API = "snapshot.storage.k8s.io/v1"
BACKUP_LABEL = "proxy-observability/backup"
"""Only objects with it are ever deleted; its value is the backup's name."""
CLAIMS_LABEL = "proxy-observability/claims"
"""The label says how many snapshots a complete backup has: a quota may admit the first of two."""
LABELS = {
    "app.kubernetes.io/name": "prometheus-backup",
    "app.kubernetes.io/part-of": "proxy-observability",
}
POLL_SECONDS = 2.0
ANSWER_SECONDS = 30.0
GONE = http.HTTPStatus.NOT_FOUND
"""The API server answers so if somebody else has deleted the snapshot, and for every path if the
cluster does not know VolumeSnapshots."""


class Snapshots:
    """The VolumeSnapshots of one namespace, with the pod's own account."""

    def __init__(self, namespace: str, account: Path) -> None:
        """Read where the API server is from the variables that Kubernetes gives each pod.

        Args:
            account: folder with `token` and `ca.crt`.
        """
        self._host = os.environ["KUBERNETES_SERVICE_HOST"]
        self._port = int(os.environ["KUBERNETES_SERVICE_PORT"])
        self._account = account
        self._trust = ssl.create_default_context(cafile=os.fspath(account / "ca.crt"))
        self._path = f"/apis/{API}/namespaces/{namespace}/volumesnapshots"

    def create(self, backup: str, claim: str, snapshot_class: str, claims: int) -> None:
        name = f"{claim}-{backup}"
        spec: Json = {"source": {"persistentVolumeClaimName": claim}}
        if snapshot_class:
            spec["volumeSnapshotClassName"] = snapshot_class
        labels = {**LABELS, BACKUP_LABEL: backup, CLAIMS_LABEL: str(claims)}
        manifest = {
            "apiVersion": API,
            "kind": "VolumeSnapshot",
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
        }
        self._call("POST", self._path, manifest)

    def by_backup(self) -> dict[str, list[Json]]:
        """Return this program's snapshots by the backup that they belong to."""
        query = urllib.parse.urlencode({"labelSelector": BACKUP_LABEL})
        path = f"{self._path}?{query}"
        found: dict[str, list[Json]] = {}
        try:
            for item in self._call("GET", path)["items"]:
                found.setdefault(item["metadata"]["labels"][BACKUP_LABEL], []).append(item)
        except (KeyError, TypeError):
            raise BackupError(f"GET {path}: the API server answers with no list") from None
        return found

    def of(self, backup: str) -> list[Json]:
        return self.by_backup().get(backup, [])

    def delete(self, name: str) -> None:
        self._call("DELETE", f"{self._path}/{name}")

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        # Anew for each call: the kubelet renews the token.
        token = (self._account / "token").read_text(encoding="utf-8").strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=ANSWER_SECONDS, context=self._trust
        )
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise BackupError(f"{method} {path}: the API server does not answer: {error}") from None
        finally:
            connection.close()
        if answer.status == GONE and method != "DELETE":
            raise BackupError(
                f"{API}: this cluster has no VolumeSnapshots; install its CSI driver's snapshot "
                "controller, or use prometheus.backup.objectStorage"
            )
        if answer.status >= http.HTTPStatus.BAD_REQUEST and answer.status != GONE:
            raise BackupError(f"{method} {path}: {answer.status} {_message(text)}")
        try:
            document: Json = json.loads(text)
        except ValueError:
            raise BackupError(f"{method} {path}: the API server answers with no JSON") from None
        return document


def back_up(
    snapshots: Snapshots,
    claims: Sequence[str],
    *,
    snapshot_class: str,
    keep: int,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """Snapshot every claim, wait until all are ready, then delete older backups.

    Raises:
        BackupError: one is not ready in `seconds`, or the API server refuses. Nothing is deleted.
    """
    backup = new_name()
    for claim in claims:
        snapshots.create(backup, claim, snapshot_class, len(claims))
    deadline = time.monotonic() + seconds
    while len(ready := [one for one in snapshots.of(backup) if is_ready(one)]) < len(claims):
        if time.monotonic() > deadline:
            late = next((one for one in snapshots.of(backup) if not is_ready(one)), {})
            raise BackupError(
                f"backup {backup}: {len(ready)} of {len(claims)} volume snapshots are ready after "
                f"{seconds:.0f} s; {_trouble(late)}"
            )
        time.sleep(POLL_SECONDS)
    say(f"backup {backup}: {len(claims)} volume snapshots are ready")
    found = snapshots.by_backup()
    complete = [name for name, items in found.items() if is_complete(items)]
    for old in outdated(found, complete, keep, backup):
        for item in found[old]:
            snapshots.delete(item["metadata"]["name"])
        say(f"backup {old}: deleted")


def is_complete(items: Sequence[Json]) -> bool:
    """Return whether these are all snapshots of their backup, and ready."""
    wanted = {item["metadata"]["labels"].get(CLAIMS_LABEL) for item in items}
    return wanted == {str(len(items))} and all(map(is_ready, items))


def is_ready(snapshot: Json) -> bool:
    return bool((snapshot.get("status") or {}).get("readyToUse"))


def _trouble(snapshot: Json) -> str:
    """Return what the snapshot controller says of one that is not ready, or missing."""
    status = snapshot.get("status")
    if not status:
        return "no snapshot controller has looked at the others"
    return str((status.get("error") or {}).get("message", "the storage is still copying"))


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:200]
