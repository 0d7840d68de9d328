"""The ledger as Kubernetes would receive it, and what others get where there is one."""

from __future__ import annotations

import pytest
import yaml

from components.prometheus.servers import claims_of
from money.ledger import COVERAGE, RECORDS
from tests.program.conftest import (
    OPERATOR,
    config_map,
    container_of,
    named,
    scrape_jobs,
    waited_for,
    workloads,
)
from tests.program.pod_security import violations

STORE = {"url": "https://store.example/prometheus", "writeUrl": "https://store.example/push"}
TLS = {"tls": {"issuer": {"name": "monitoring-ca", "kind": "ClusterIssuer"}}}


def config_of(run, name):
    return yaml.safe_load(run.only("ConfigMap", f"{name}-config")["data"]["prometheus.yml"])


def rules_of(run, name="prometheus"):
    return run.only("ConfigMap", f"{name}-rules")["data"]


def sources_of(run):
    texts = config_map(run, "grafana-datasources").values()
    return {one["uid"]: one for text in texts for one in yaml.safe_load(text)["datasources"]}


def test_it_takes_the_hours_of_every_replica_and_nothing_else(variant):
    """Behind the Service now one would answer, now the other; all series would fill its volume."""
    run = variant("prod", ledger={"enabled": True})
    (job,) = config_of(run, "ledger")["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [
        f"prometheus-{n}.prometheus-pods.monitoring.svc:9090" for n in range(2)
    ]
    assert run.only("Service", "prometheus-pods")["spec"]["clusterIP"] == "None"
    (match,) = job["params"]["match[]"]
    assert all(name in match for name in RECORDS)
    records = yaml.safe_load(rules_of(run)["ledger_records.yml"])["groups"][0]["rules"]
    assert {rule["record"] for rule in records} == set(RECORDS)


def test_shards_record_their_parts_and_the_whole_is_not_kept_too(variant):
    """The server that adds them up has no fine sums; of the rest it would double what they say."""
    run = variant("prod", prometheus={"shards": 2}, ledger={"enabled": True})
    (job,) = config_of(run, "ledger")["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [
        f"prometheus-shard-{n}-0.prometheus-shard-{n}-pods.monitoring.svc:9090" for n in range(2)
    ]
    assert "ledger_records.yml" in rules_of(run, "prometheus-shard-1")
    assert "ledger_records.yml" not in rules_of(run)
    assert "ledger_alerts.yml" in rules_of(run)


def test_the_pod_asks_kubernetes_for_nothing(variant):
    run = variant("prod", ledger={"enabled": True, "storage": "10Gi", "retention": "400d"})
    pod = run.only("StatefulSet", "ledger")["spec"]["template"]["spec"]
    assert list(violations(pod)) == []
    assert not pod["automountServiceAccountToken"]
    assert "serviceAccountName" not in pod
    (claim,) = run.only("StatefulSet", "ledger")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == str(10 * 2**30)
    retention = config_of(run, "ledger")["storage"]["tsdb"]["retention"]
    assert retention == {"time": "400d", "size": f"{8 * 2**30}B"}
    assert set(claims_of("ledger", 1)) <= set(run.outputs["volumes"])


def test_prometheus_sees_how_old_it_is_and_grafana_asks_it(variant):
    run = variant("prod", ledger={"enabled": True})
    job = scrape_jobs(run)["ledger"]
    assert job["params"] == {"match[]": [COVERAGE]}
    kept = {one["regex"] for one in job["relabel_configs"] if one.get("action") == "keep"}
    labels = run.only("StatefulSet", "ledger")["spec"]["template"]["metadata"]["labels"]
    assert kept - {"9090"} <= set(labels.values())
    assert "ledger_alerts.yml" in rules_of(run)
    source = sources_of(run)["ledger"]
    assert source["url"] == run.outputs["ledgerUrl"] == "http://ledger.monitoring.svc:9090"
    variables = {
        env["name"]: env.get("valueFrom")
        for env in container_of(run.only("Deployment", "grafana"))["env"]
    }
    own = variables[source["basicAuthUser"].removeprefix("$")]["secretKeyRef"]["name"]
    mounted = run.only("StatefulSet", "ledger")["spec"]["template"]["spec"]["volumes"]
    assert own in {one["secret"]["secretName"] for one in mounted if "secret" in one}


def test_it_speaks_tls_like_the_others(variant):
    run = variant("prod", ledger={"enabled": True}, monitoring=TLS)
    (spec,) = (
        one.inputs["spec"]
        for one in run.of_kind("Certificate")
        if one.inputs["metadata"]["name"] == "prometheus"
    )
    assert "ledger.monitoring.svc" in spec["dnsNames"]
    (job,) = config_of(run, "ledger")["scrape_configs"]
    assert job["scheme"] == scrape_jobs(run)["ledger"]["scheme"] == "https"
    assert job["tls_config"]["server_name"] == "prometheus.monitoring.svc"
    assert scrape_jobs(run)["ledger"]["tls_config"]["server_name"] == "ledger.monitoring.svc"
    assert sources_of(run)["ledger"]["secureJsonData"]["tlsCACert"].startswith("$")
    (ledger,) = (one for one in workloads(run) if one.inputs["metadata"]["name"] == "ledger")
    assert {one.urn for one in run.of_kind("Certificate")} <= waited_for(run, ledger)


def test_nothing_of_it_is_there_where_nobody_has_prices(run_program):
    run = run_program("prod")
    assert "ledger" not in named(run, "StatefulSet")
    assert "ledger" not in scrape_jobs(run)
    assert not any("ledger" in name for name in rules_of(run))
    assert "ledger" not in sources_of(run)
    assert "ledgerUrl" not in run.outputs


@pytest.mark.parametrize("shards", [1, 2])
def test_a_store_of_the_users_gets_the_hours_and_no_more(variant, shards):
    """By those who scrape sidecars alone, with the login of a Secret that the user makes."""
    prometheus = {"shards": shards}
    run = variant("prod", prometheus=prometheus, ledger={**STORE, "loginSecret": "store-login"})
    writer = "prometheus" if shards == 1 else "prometheus-shard-1"
    (written,) = config_of(run, writer)["remote_write"]
    assert written["url"] == STORE["writeUrl"]
    (kept,) = written["write_relabel_configs"]
    assert all(name in kept["regex"] for name in RECORDS)
    if shards > 1:
        assert "remote_write" not in config_of(run, "prometheus")
    pod = run.only("StatefulSet", writer)["spec"]["template"]["spec"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "store")
    assert volume["secret"]["secretName"] == "store-login"
    assert sources_of(run)["ledger"]["url"] == STORE["url"] == run.outputs["ledgerUrl"]
    assert "ledger" not in named(run, "StatefulSet")
    assert "ledger_records.yml" in rules_of(run, writer)
    assert "ledger_alerts.yml" not in rules_of(run)


def test_the_operators_prometheus_records_hours_for_its_store(variant):
    run = variant("dev", prometheus=OPERATOR, alertmanager=None, ledger={"url": STORE["url"]})
    rules = {name for name in named(run, "PrometheusRule") if "ledger" in name}
    assert rules == {"proxy-observability-ledger-records"}
    assert sources_of(run)["ledger"]["url"] == STORE["url"]
