from __future__ import annotations

import pytest

from components.prometheus.config import BasicAuth, prometheus_config
from components.prometheus.federation import (
    LEVELS,
    MATCH,
    Source,
    server_config,
    shard_config,
)
from components.prometheus.rules import federated_from_clusters, federated_sums
from tests.components.test_metrics import SETTINGS
from tests.relabel import relabel

AUTH = BasicAuth(username="prometheus", password_file="/etc/prometheus/auth/password")
SHARDS = [Source(url=f"http://prometheus-shard-{n}:9090", auth=AUTH, shard=n) for n in (0, 1)]
CLUSTERS = [
    Source(url="https://prometheus.eu.example.com/prom/", auth=AUTH, cluster="eu"),
    Source(url="http://10.9.0.1:9090", auth=AUTH, cluster="us"),
]


def base():
    return prometheus_config(SETTINGS)


def jobs(config):
    return {job["job_name"]: job for job in config["scrape_configs"]}


def taken(source, /, **series):
    """What is stored of a federated series, whose own labels are honoured."""
    labels = source["static_configs"][0]["labels"] | series
    return relabel(source["metric_relabel_configs"], labels)


def test_each_sidecar_belongs_to_one_shard():
    """Scraped by two it would count twice, by none not at all."""
    shards = [jobs(shard_config(base(), n, 3)) for n in range(3)]
    assert all(list(one) == ["sidecars"] for one in shards)
    tails = [one["sidecars"]["relabel_configs"][-2:] for one in shards]
    assert all(hashed == tails[0][0] for hashed, _ in tails)
    assert tails[0][0]["modulus"] == 3
    assert [keep["regex"] for _, keep in tails] == ["0", "1", "2"]
    whole = jobs(base())["sidecars"]
    for one in shards:
        part = {**one["sidecars"], "relabel_configs": one["sidecars"]["relabel_configs"][:-2]}
        assert part == whole


def test_shards_have_the_labels_of_the_contract():
    """cluster, shard and prometheus_replica name the source; a single server's labels stay."""
    assert shard_config(base(), 1, 2)["global"]["external_labels"] == {
        "cluster": "prod",
        "prometheus_replica": "${POD_NAME}",
        "shard": "1",
    }
    assert server_config(base(), SHARDS)["global"] == base()["global"]


def test_the_server_scrapes_the_rest():
    """Every job is scraped, and no sidecar twice."""
    server = jobs(server_config(base(), SHARDS))
    shard = jobs(shard_config(base(), 0, 2))
    assert sorted([*server, *shard]) == sorted(
        [*jobs(base()), "federation-shard-0", "federation-shard-1"]
    )
    assert list(jobs(server_config(base(), CLUSTERS))) == [
        *jobs(base()),
        "federation-cluster-eu",
        "federation-cluster-us",
    ]


def test_the_query_to_a_source():
    """The architecture document's match, and its honor_labels; the address as it is written."""
    job = jobs(server_config(base(), CLUSTERS))["federation-cluster-eu"]
    assert job["scheme"] == "https"
    assert job["metrics_path"] == "/prom/federate"
    assert job["static_configs"][0]["targets"] == ["prometheus.eu.example.com"]
    assert job["params"] == {"match[]": [MATCH]}
    assert job["honor_labels"] is True
    documented = "proxy_vendor|proxy_vendor_outcome|proxy_vendor_le|workload_proxy_vendor|cluster"
    assert "|".join(LEVELS).startswith(documented)


def test_every_record_that_is_taken_is_asked_for():
    """Else alerts and panels on a new level would be silent, and only where there is a source."""
    levels = {name.partition(":")[0] for name in federated_from_clusters()} - {".+"}
    assert levels == set(LEVELS)


def test_a_clusters_record_arrives_as_it_is():
    """With the limits of its own stack, which its alerts compare with."""
    job = jobs(server_config(base(), CLUSTERS))["federation-cluster-eu"]
    labels = {"cluster": "eu", "proxy_vendor": "vendor-a"}
    for name in (
        *federated_sums(),
        "cluster:prometheus_samples_appended:rate5m",
        "proxy_vendor:slo:ratio",
        "proxy_vendor:istio_requests:threshold",
    ):
        found = taken(job, __name__=name, prometheus_replica="prometheus-0", **labels)
        own_job = {"job": "federation"} if name.startswith("job:") else {}
        assert found == {"__name__": name, **labels, **own_job}


@pytest.mark.parametrize(
    ("source", "series"),
    [
        # Computed here from the sums: federated they would be there twice.
        ("cluster-eu", {"__name__": "proxy_vendor:request_failures_per_requests:ratio_rate5m"}),
        ("cluster-eu", {"__name__": "proxy_vendor:request_failures:rate5m"}),
        # A server that is not the one its address was given for, and what that one federates.
        ("cluster-eu", {"__name__": "proxy_vendor:istio_requests:rate5m", "cluster": "us"}),
        # This server records it itself.
        ("shard-0", {"__name__": "cluster:sidecar_series:threshold", "cluster": "prod"}),
    ],
)
def test_what_is_not_taken(source, series):
    """Each would be a second series of one that is here, or one under a wrong cluster's name."""
    job = jobs(server_config(base(), [*SHARDS, *CLUSTERS]))[f"federation-{source}"]
    assert taken(job, **{"cluster": "eu", **series}) is None
