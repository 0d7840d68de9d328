"""Backups as Kubernetes would receive them, and what a restoration adds."""

from __future__ import annotations

import pytest

from components.backup.plan import restore_command
from components.prometheus.config import BACKUP_METRICS, BACKUP_PORT
from render.program import run_program as run_with
from settings.loading import SettingsError
from tests.backups.rendered import pod_of_job, pod_of_prometheus
from tests.program.conftest import container_of, scrape_jobs, sections
from tests.program.pod_security import violations

STORE = {"path": "backups/prod", "secret": "backup-storage"}
NAME = "20261130-030012"


@pytest.fixture
def prometheus(variant):
    """Run prod with these keys of `prometheus`."""
    return lambda **keys: variant("prod", prometheus={"replicas": 2, **keys})


def arguments(run):
    return container_of(run.only("StatefulSet", "prometheus"))["args"]


def test_the_job_snapshots_every_volume_and_may_do_no_more(run_program):
    """A claim left out is a volume that nobody can restore; the account reads no volume."""
    run = run_program("prod")
    (container,) = pod_of_job(run)["containers"]
    claims = [word.partition("=")[2] for word in container["command"] if "--claim=" in word]
    assert claims == ["data-prometheus-0", "data-prometheus-1"]
    assert set(claims) <= set(run.outputs["volumes"])
    role = run.only("Role", "prometheus-backup")
    assert role["rules"] == [
        {
            "apiGroups": ["snapshot.storage.k8s.io"],
            "resources": ["volumesnapshots"],
            "verbs": ["create", "list", "delete"],
        }
    ]
    assert (
        "--web.enable-admin-api" not in container_of(run.only("StatefulSet", "prometheus"))["args"]
    )


def test_shards_are_snapshotted_too(prometheus):
    """Each has a part of the history."""
    run = prometheus(shards=2, backup={})
    (container,) = pod_of_job(run)["containers"]
    claims = {word.partition("=")[2] for word in container["command"] if "--claim=" in word}
    volumes = {name for name in run.outputs["volumes"] if "prometheus" in name}
    assert claims == volumes
    assert len(claims) == 6


@pytest.mark.parametrize("backup", [{}, {"objectStorage": STORE}], ids=["volumes", "objects"])
def test_the_pods_are_admitted(prometheus, backup):
    """Level `restricted` refuses a Job's pod as any other, and only an event would tell."""
    run = prometheus(backup=backup, restoreFrom=NAME)
    for pod in (pod_of_job(run), pod_of_prometheus(run)):
        assert list(violations(pod)) == []
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["resources"].keys() == {"requests", "limits"}
            assert container["securityContext"]["readOnlyRootFilesystem"]


def test_prometheus_scrapes_the_job(run_program):
    """Else no backup would ever be known, and the alert always fire."""
    run = run_program("prod")
    job = scrape_jobs(run)["backup"]
    template = run.only("CronJob", "prometheus-backup")["spec"]["jobTemplate"]["spec"]["template"]
    kept = {
        rule["source_labels"][0]: rule["regex"]
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }
    assert kept.pop("__meta_kubernetes_pod_container_port_number") == str(BACKUP_PORT)
    labels = template["metadata"]["labels"]
    assert set(kept.values()) <= set(labels.values())
    assert BACKUP_METRICS[0] in job["metric_relabel_configs"][0]["regex"]
    rules = run.only("ConfigMap", "prometheus-rules")["data"]
    assert "PrometheusBackupStale" in rules["backup_alerts.yml"]


def test_without_backups_there_is_nothing_of_them(run_program):
    """No job, no alert that could only be false, no admin API."""
    run = run_program("dev")
    assert run.of_kind("CronJob") == ()
    assert "backup_alerts.yml" not in run.only("ConfigMap", "prometheus-rules")["data"]
    assert "backup" not in scrape_jobs(run)


def test_a_copy_needs_the_volume_and_the_admin_api(prometheus):
    """It runs where the volume is, with the user's Secret, and no right in the API server."""
    run = prometheus(backup={"objectStorage": STORE})
    pod = pod_of_job(run)
    assert not pod["automountServiceAccountToken"]
    assert [r for r in run.of_kind("Role") if "backup" in r.inputs["metadata"]["name"]] == []
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
    assert claim == "data-prometheus-0"
    assert volumes["rclone"]["secret"]["secretName"] == "backup-storage"
    affinity = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    labels = affinity[0]["labelSelector"]["matchLabels"]
    assert claim == f"data-{labels['statefulset.kubernetes.io/pod-name']}"
    assert "--web.enable-admin-api" in arguments(run)


def test_new_volumes_are_made_of_snapshots_and_outlive_the_key(prometheus):
    """One that exists is an error of `up`; removing the key deletes no volume."""
    run = prometheus(backup={}, restoreFrom=NAME)
    claims = run.of_kind("PersistentVolumeClaim")
    sources = {
        one.inputs["metadata"]["name"]: one.inputs["spec"]["dataSource"]["name"] for one in claims
    }
    assert sources == {
        name: f"{name}-{NAME}" for name in ("data-prometheus-0", "data-prometheus-1")
    }
    (server,) = [s for s in run.of_kind("StatefulSet") if s.name == "prometheus-server"]
    for claim in claims:
        assert claim.retained
        assert claim.ignored == {"spec"}
        assert claim.urn in server.dependencies, "the StatefulSet would make it, empty"
        template = server.inputs["spec"]["volumeClaimTemplates"][0]["spec"]
        own = {"dataSource": None, "resources": None}
        assert {**claim.inputs["spec"], **own} == {**template, **own}
    assert "initContainers" not in pod_of_prometheus(run)


def test_a_new_volume_is_no_smaller_than_what_a_cloud_made(prometheus):
    """A cloud makes 56 GiB of 60 GB, and takes no claim of 60 GB for a snapshot of it."""
    run = prometheus(backup={}, restoreFrom=NAME, storage="60G")
    for claim in run.of_kind("PersistentVolumeClaim"):
        assert claim.inputs["spec"]["resources"]["requests"] == {"storage": "56Gi"}


def test_an_empty_folder_is_filled_before_prometheus_starts(prometheus):
    """In each replica, from the same copy."""
    run = prometheus(backup={"objectStorage": STORE}, restoreFrom=NAME)
    assert run.of_kind("PersistentVolumeClaim") == ()
    copy, restore = pod_of_prometheus(run)["initContainers"]
    assert copy["command"][0] == "cp"
    settings = run.settings.prometheus.backup.object_storage
    assert restore["command"] == list(restore_command(settings, NAME))


@pytest.mark.parametrize(
    ("keys", "finding"),
    [
        (
            {"restoreFrom": NAME},
            "prometheus.restoreFrom: needs prometheus.backup, which says where backups are",
        ),
        ({"backup": {}, "restoreFrom": "latest"}, "is not the name of a backup"),
        ({"backup": {"schedule": "0 3 * * 0"}}, "is not the time of a daily job"),
        ({"backup": {"schedule": "daily"}}, "is not the time of a daily job"),
        (
            {"backup": {"objectStorage": STORE, "volumeSnapshotClass": "csi"}},
            "prometheus.backup.volumeSnapshotClass: has no effect with objectStorage",
        ),
        (
            {"backup": {"objectStorage": STORE}, "shards": 2},
            "prometheus.backup.objectStorage: copies the data of one server",
        ),
        (
            {"backup": {"objectStorage": {**STORE, "path": "s3://u:p@host/x"}}},
            "is no folder of a bucket",
        ),
        ({"backup": {"keep": 0}}, "prometheus.backup.keep: 0 is too small"),
    ],
)
def test_what_cannot_be_backed_up_is_refused(edited, keys, finding):
    """Before anything is deployed, by the key's name."""
    with pytest.raises(SettingsError) as raised:
        run_with("prod", edited("prod", sections(prometheus=keys)))
    assert finding in str(raised.value)
    assert "u:p" not in str(raised.value)
