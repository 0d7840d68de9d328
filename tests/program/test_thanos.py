"""Thanos' sidecar as Kubernetes would receive it; it is not run here."""

from __future__ import annotations

import pytest

from tests.program.pod_security import violations

THANOS = {"objectStoreSecret": "thanos-objstore"}


def pod_of(run, name):
    return run.only("StatefulSet", name)["spec"]["template"]["spec"]


@pytest.mark.parametrize("shards", [1, 2])
def test_every_server_uploads_what_it_never_compacts(variant, shards):
    """A compacted block is not uploaded, and one that is compacted later would be twice there."""
    run = variant("prod", prometheus={"shards": shards, "thanos": THANOS}, ledger={"enabled": True})
    servers = ["prometheus", *(f"prometheus-shard-{n}" for n in range(shards if shards > 1 else 0))]
    for name in servers:
        pod = pod_of(run, name)
        assert list(violations(pod)) == []
        prometheus, sidecar = pod["containers"]
        for bound in ("min", "max"):
            assert f"--storage.tsdb.{bound}-block-duration=2h" in prometheus["args"]
        mounted = {one["name"]: one["mountPath"] for one in sidecar["volumeMounts"]}
        volumes = {one["name"]: one for one in pod["volumes"]}
        assert f"--tsdb.path={mounted['data']}" in sidecar["args"]
        assert f"--objstore.config-file={mounted['object-store']}/objstore.yml" in sidecar["args"]
        assert volumes["object-store"]["secret"]["secretName"] == THANOS["objectStoreSecret"]
        assert "object-store" not in {one["name"] for one in prometheus["volumeMounts"]}
        assert f"--prometheus.http-client-file={mounted['auth']}/http.yml" in sidecar["args"]
        service = run.only("Service", f"{name}-thanos")["spec"]
        assert service["clusterIP"] == "None"
        assert service["ports"][0]["port"] == 10901
    # Its series are in Prometheus' own blocks already.
    assert len(pod_of(run, "ledger")["containers"]) == 1


def test_it_asks_a_prometheus_with_tls_by_tls(variant):
    run = variant(
        "prod",
        prometheus={"thanos": THANOS},
        monitoring={"tls": {"issuer": {"name": "monitoring-ca"}}},
    )
    _, sidecar = pod_of(run, "prometheus")["containers"]
    assert "--prometheus.url=https://127.0.0.1:9090" in sidecar["args"]
    # http.yml names the CA there.
    assert "/etc/prometheus/tls" in {one["mountPath"] for one in sidecar["volumeMounts"]}


def test_the_quota_has_room_for_it(variant):
    with_it, without = (
        variant("prod", prometheus={"replicas": 2, **more}) for more in ({"thanos": THANOS}, {})
    )
    hard = [
        next(
            one.inputs["spec"]["hard"]
            for one in run.of_kind("ResourceQuota")
            if one.namespace == "monitoring"
        )
        for run in (with_it, without)
    ]
    assert hard[0]["pods"] == hard[1]["pods"]
    requested = [int(one["requests.memory"]) for one in hard]
    assert requested[0] - requested[1] == 3 * 100 * 10**6  # two replicas, and one more


def test_nothing_of_it_is_there_unasked(run_program):
    run = run_program("prod")
    assert len(pod_of(run, "prometheus")["containers"]) == 1
    assert not any(
        "block-duration" in one for one in pod_of(run, "prometheus")["containers"][0]["args"]
    )
