"""Volume snapshots by the rendered CronJob's own command, on a real API server with RBAC.

The snapshot controller is absent: the tests write what it would write into a snapshot's status.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from backups.volumes import API, BACKUP_LABEL, CLAIMS_LABEL
from lab.processes import Children, children
from render.program import Run, run_program
from tests.api.volume_snapshots import crds
from tests.backups.rendered import Container, containers, pod_of_job
from tests.mesh import kubernetes
from tests.mesh.kubernetes import PORT, Api, ApiError
from tests.mesh.networks import GATEWAY, Network, build_world, why_not
from tests.program.conftest import edited_copy, sections

NAMESPACE = "monitoring"
ISSUER = "https://kubernetes.default.svc.cluster.local"
CLAIMS = {"data-prometheus-0", "data-prometheus-shard-0-0", "data-prometheus-shard-1-0"}
SECONDS = 180.0
READY = {"readyToUse": True}
MINE = "before-the-upgrade"


@dataclass
class Cluster:
    """The API server, and the account of the rendered job."""

    api: Api
    world: Network
    family: Children
    run: Run
    folder: Path

    def job(self) -> Container:
        account = "/var/run/secrets/kubernetes.io/serviceaccount"
        (container,) = containers(
            self.run,
            pod_of_job(self.run),
            folder=self.folder,
            places={account: str(self.folder / "account")},
            environment={"KUBERNETES_SERVICE_HOST": GATEWAY, "KUBERNETES_SERVICE_PORT": str(PORT)},
            enter=self.world.command([]),
        ).values()
        return container

    def snapshots(self) -> dict[str, dict[str, Any]]:
        return {
            one["metadata"]["name"]: one for one in self.api.list(API, "VolumeSnapshot", NAMESPACE)
        }

    def apply(self, *kinds: str) -> None:
        for kind in kinds:
            self.api.apply(self.run.only(kind, "prometheus-backup"))

    def back_up(self) -> str:
        """Run the job, with its storage and its Prometheus beside it; return its words."""
        with self.job().popen() as process:
            try:
                self._until(lambda: len(self._unready()) == len(CLAIMS), process)
                for one in self._unready():
                    self.api.set_status(one, READY)
                self._until(self._scraped, process)
                out, err = process.communicate(timeout=SECONDS)
            except BaseException:
                process.kill()
                raise
        assert process.returncode == 0, err
        return out

    def _unready(self) -> list[dict[str, Any]]:
        return [one for one in self.snapshots().values() if "status" not in one]

    def _scraped(self) -> bool:
        try:
            with self.world.connect(GATEWAY, 9466) as connection:
                connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                return b"completed_timestamp" in b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return False

    def _until(self, condition: Any, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(f"no API server on this machine: {reason}")
    if shutil.which("go") is None:
        pytest.skip("the CRDs of VolumeSnapshots come as a Go module, and go is not on PATH")
    folder = tmp_path_factory.mktemp("backups")
    keys = {"shards": 2, "backup": {"keep": 2, "volumeSnapshotClass": "csi-fast"}}
    run = run_program("prod", edited_copy(folder, "prod", sections(prometheus=keys)))
    with children() as family:
        world = build_world(family, folder)
        try:
            kubernetes.start(family, world, folder)
            api = Api(world)
            deadline = time.monotonic() + SECONDS
            while not api.is_ready():
                family.check()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            made = Cluster(api, world, family, run, folder)
            made.apply("ServiceAccount", "Role")
            (folder / "account").mkdir()
            token = api.token(NAMESPACE, "prometheus-backup", ISSUER)
            (folder / "account" / "token").write_text(token)
            shutil.copy(folder / "certificates" / "apiserver.crt", folder / "account" / "ca.crt")
            yield made
        finally:
            world.close()


def test_without_its_role_the_job_says_what_it_may_not(cluster: Cluster) -> None:
    """The account has no right of its own."""
    done = cluster.job().finish()
    assert done.returncode == 1
    assert "403 volumesnapshots.snapshot.storage.k8s.io is forbidden" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    cluster.apply("RoleBinding")


def test_a_cluster_without_snapshots_is_named(cluster: Cluster) -> None:
    """And what to use there."""
    done = cluster.job().finish()
    assert done.returncode == 1
    assert "this cluster has no VolumeSnapshots" in done.stderr
    assert "objectStorage" in done.stderr
    for crd in crds():
        cluster.api.apply(crd)
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            assert cluster.snapshots() == {}
            break
        except (ApiError, KeyError):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_every_claim_is_snapshotted_and_the_oldest_go(cluster: Cluster) -> None:
    """Two are kept, whole; another's snapshot of the same volume is nobody's to delete."""
    spec = {"source": {"persistentVolumeClaimName": "data-prometheus-0"}}
    metadata = {"name": MINE, "namespace": NAMESPACE}
    mine = {"apiVersion": API, "kind": "VolumeSnapshot", "metadata": metadata, "spec": spec}
    cluster.api.set_status(cluster.api.create(mine), READY)
    words = [cluster.back_up() for _ in range(3)]

    found = cluster.snapshots()
    assert found.pop(MINE)
    backups: dict[str, set[str]] = {}
    for name, one in found.items():
        backup = one["metadata"]["labels"][BACKUP_LABEL]
        claim = one["spec"]["source"]["persistentVolumeClaimName"]
        assert name == f"{claim}-{backup}"
        assert one["spec"]["volumeSnapshotClassName"] == "csi-fast"
        backups.setdefault(backup, set()).add(claim)
    names = [text.split()[1].rstrip(":") for text in words]
    assert backups == dict.fromkeys(names[1:], CLAIMS)
    assert f"backup {names[0]}: deleted" in words[2]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "no snapshot controller has looked at the others"),
        ({"readyToUse": False}, "the storage is still copying"),
        (
            {"readyToUse": False, "error": {"message": "quota of snapshots exceeded"}},
            "quota of snapshots exceeded",
        ),
    ],
)
def test_a_snapshot_that_is_not_ready_is_named_and_nothing_deleted(
    cluster: Cluster, status: dict[str, Any] | None, said: str
) -> None:
    """Backups that fail night after night leave the good ones."""
    before = cluster.snapshots()
    with cluster.job().popen("--ready-seconds=5") as process:
        while status and len(new := cluster.snapshots().keys() - before.keys()) < len(CLAIMS):
            time.sleep(0.05)
        for name in sorted(new) if status else ():
            cluster.api.set_status(cluster.snapshots()[name], status)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert f"0 of {len(CLAIMS)} volume snapshots are ready after 5 s; {said}" in err
    assert before.keys() <= cluster.snapshots().keys()


def test_what_failed_goes_with_the_next_good_one(cluster: Cluster) -> None:
    """Half a backup is no backup, and costs as much. What is young may be a running job's."""
    running = set()
    for name, one in cluster.snapshots().items():
        if not one.get("status", {}).get("readyToUse"):
            cluster.api.set_status(one, {"readyToUse": False})
            running.add(name)
    # One more claim was refused, so the one that is ready is no backup.
    spec = {"source": {"persistentVolumeClaimName": "data-prometheus-0"}}
    labels = {BACKUP_LABEL: "20200101-030000", CLAIMS_LABEL: "2"}
    metadata = {"name": "half", "namespace": NAMESPACE, "labels": labels}
    half = {"apiVersion": API, "kind": "VolumeSnapshot", "metadata": metadata, "spec": spec}
    cluster.api.set_status(cluster.api.create(half), READY)

    cluster.back_up()
    found = cluster.snapshots()
    assert running <= found.keys()
    assert "half" not in found
    assert len(found) - len(running) == 2 * len(CLAIMS) + 1


def test_new_claims_are_accepted(cluster: Cluster, tmp_path: Path) -> None:
    """The claims that prometheus.restoreFrom makes name the snapshots of the backup."""
    last = max(one["metadata"]["labels"].get(BACKUP_LABEL, "") for one in labelled(cluster))
    keys = {"shards": 2, "backup": {}, "restoreFrom": last}
    run = run_program("prod", edited_copy(tmp_path, "prod", sections(prometheus=keys)))
    claims = [cluster.api.apply(one.inputs) for one in run.of_kind("PersistentVolumeClaim")]
    assert {one["metadata"]["name"] for one in claims} == CLAIMS
    assert {one["spec"]["dataSource"]["name"] for one in claims} <= cluster.snapshots().keys()


def labelled(cluster: Cluster) -> list[dict[str, Any]]:
    return [one for one in cluster.snapshots().values() if "labels" in one["metadata"]]


def test_the_account_may_do_nothing_else(cluster: Cluster) -> None:
    """Asked of the API server, by verb and resource."""
    user = f"system:serviceaccount:{NAMESPACE}:prometheus-backup"
    snapshots = ("snapshot.storage.k8s.io", "volumesnapshots")
    resources = [
        *(snapshots, ("snapshot.storage.k8s.io", "volumesnapshotcontents")),
        *(("", name) for name in ("secrets", "pods", "persistentvolumeclaims", "configmaps")),
        ("apps", "statefulsets"),
    ]
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    allowed = {
        (namespace, group, resource, verb)
        for namespace, (group, resource), verb in product((NAMESPACE, "crawlers"), resources, verbs)
        if is_allowed(cluster, user, namespace, group, resource, verb)
    }
    assert allowed == {(NAMESPACE, *snapshots, verb) for verb in ("create", "list", "delete")}


def is_allowed(
    cluster: Cluster, user: str, namespace: str, group: str, resource: str, verb: str
) -> bool:
    attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
    api = "authorization.k8s.io/v1"
    spec = {"user": user, "resourceAttributes": attributes}
    review = {"apiVersion": api, "kind": "SubjectAccessReview", "spec": spec}
    answer = cluster.api.call("POST", f"/apis/{api}/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
