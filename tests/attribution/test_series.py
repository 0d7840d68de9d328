"""Which series a sidecar exports, with which labels, and how many Prometheus stores of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from components.attribution.outcome import RESPONSE_CODES, response_code
from components.attribution.stats import (
    OUTSIDE_CLUSTERS,
    SCRAPED_METRICS,
    bucket_annotation,
    expected_series,
    http_plugin_config,
    inclusion_regexps,
    opaque_plugin_config,
)
from settings.destinations import Destination
from settings.vendors import Vendor
from tests.attribution.filters import nested, render, values, vendor
from tests.attribution.test_render import SHOPS, A, G


def dimensions(filters: dict[str, Any]) -> list[set[str]]:
    """The labels of the request counter, in each configuration of it."""
    return [
        set(metric["dimensions"])
        for extension in values(filters, "EXTENSION_CONFIG")
        for found in nested(extension, "metrics")
        for metric in found
        if metric.get("name") == "requests_total"
    ]


def test_a_target_is_a_label_only_where_one_is_configured():
    """A label that is always empty would still be on every series.

    All chains share one configuration: two that differ in an empty label would be one series, and
    lose counts.
    """
    pooled = vendor("vendor-h", "10.7.0.0/16", {"range": "10.8.8.0/24", "pool": "residential"})
    plain = {"proxy_vendor", "proxy_visibility", "proxy_outcome", "proxy_pool", "response_code"}
    for targets, labels in (((), plain), ((SHOPS,), plain | {"proxy_target"})):
        assert dimensions(render(A, G, pooled, targets=targets)) == [labels]


def test_every_known_code_is_itself_and_every_other_its_class():
    """`response_code` has a bounded set of values, whatever a vendor answers."""
    # Python's `and` and `or` choose as CEL's conditional, for no label is empty.
    expression = response_code().replace("!has(response.code)", "False")
    python = expression.replace(" ? ", " and ").replace(" : ", " or ")
    for code in range(0, 1000):
        listed = str(code) if code in RESPONSE_CODES or code == 0 else None
        expected = listed or (f"{code // 100}xx" if 100 <= code < 600 else "other")
        assert eval(python.replace("response.code", str(code))) == expected, code


@pytest.mark.parametrize(
    "config",
    [
        http_plugin_config(with_targets=True, timeout_after_seconds=10),
        opaque_plugin_config(),
    ],
    ids=["http", "opaque"],
)
def test_no_metric_gets_a_label_twice(config):
    """istio.stats writes both of two entries that name a label; Prometheus refuses the scrape."""
    named = [metric["name"] for metric in config["metrics"] if "name" in metric]
    assert len(named) == len(set(named))
    of_all = {
        label
        for metric in config["metrics"]
        if "name" not in metric
        for label in metric.get("dimensions", {})
    }
    for metric in config["metrics"]:
        if "name" in metric:
            assert not of_all & set(metric.get("dimensions", {})), metric["name"]


def test_what_istio_may_export_is_what_the_scrape_keeps():
    """The matcher admits each upstream statistic that is scraped, and the `;` is in its place."""
    patterns = [re.compile(p) for p in inclusion_regexps()]
    for metric in SCRAPED_METRICS:
        if metric.startswith("envoy_cluster_"):
            stat = metric.removeprefix("envoy_cluster_")
            for cluster in ("proxy-vendor_vendor-a", "proxy-destination_s3", *OUTSIDE_CLUSTERS):
                assert any(p.fullmatch(f"cluster.{cluster};.{stat}") for p in patterns)
    assert any(p.fullmatch("http.proxyobs;.lua.errors") for p in patterns)
    assert len(SCRAPED_METRICS) == len(set(SCRAPED_METRICS))
    assert any(p.fullmatch("cluster.BlackHoleCluster;.upstream_cx_none_healthy") for p in patterns)
    net = "cluster.outbound|7777||gw.vendor.test;"
    assert any(p.fullmatch(f"{net}.upstream_cx_total") for p in patterns)
    assert not any(p.fullmatch(f"{net}.upstream_cx_active") for p in patterns)
    # Envoy's own connection to istiod, and what a cluster without an endpoint never counts.
    for cluster in ("xds-grpc", "BlackHoleCluster"):
        assert not any(p.fullmatch(f"cluster.{cluster};.upstream_cx_total") for p in patterns)


def test_series_of_the_usual_stack_stay_below_the_documented_number():
    """Five vendors, eight buckets, no pools: at most 250 series a sidecar, 170 if native."""
    five = [vendor(f"vendor-{n}", f"10.{n}.0.0/16") for n in range(5)]
    buckets = [1, 2, 3, 4, 5, 6, 7, 8]
    assert 230 <= expected_series(five, buckets).total <= 250
    assert 150 <= expected_series(five, buckets, native_histograms=True).total <= 170


def test_pools_and_targets_multiply_the_request_counter():
    """A sidecar of many series is refused beforehand: the estimate knows what multiplies them."""
    buckets = [1, 2, 3]
    one = expected_series([A], buckets).total
    # 6 outcomes, 2 visibilities; each way bytes of 3 results in plain HTTP, and of tunnels.
    each = 6 * 2 + 2 * (3 + 1)
    assert expected_series([A], buckets, targets=1).total - one == each
    assert expected_series([A], buckets, targets=3).total - one == 3 * each
    store = Destination(name="store", cidrs=("10.20.0.0/16",))
    named = Destination(name="api", hosts=("api.store.example",))
    assert expected_series([A], buckets, destinations=[store]).total - one == 6
    assert expected_series([A], buckets, destinations=[store, named]).total - one == 2 * 6 + 1
    pooled = Vendor(
        name="vendor-p",
        cidrs=("10.8.0.0/16", {"range": "10.8.8.0/24", "pool": "residential"}),
    )
    assert expected_series([pooled], buckets, targets=3).total - one == each * 2 * 4 - each
    opaque = vendor("vendor-o", "10.9.0.0/16", inspect="connections")
    assert expected_series([opaque], buckets, targets=3) == expected_series([opaque], buckets)


@pytest.mark.parametrize("inspect", ["http", "passive", "connections"])
def test_the_mode_says_what_counts(inspect):
    """`expected` was that of `full` while the kill switch counted next to nothing."""
    own = vendor("vendor-p", "10.8.0.0/16", inspect=inspect)
    store = Destination(name="store", cidrs=("10.20.0.0/16",))

    def series(of, mode):
        return expected_series([of], [1, 2, 3], targets=1, destinations=[store], mode=mode)

    opaque = vendor("vendor-p", "10.8.0.0/16", inspect="connections")
    assert series(own, "observe") == series(opaque, "full")
    off = series(own, "off")
    assert (off.requests, off.setup_times) == (0, 0)
    # Six of the clusters of the vendor, the store and Istio; two or three of the sidecar.
    assert off.connections == 3 * 6 + 2 + (inspect == "http")


def test_a_passive_vendor_adds_socks_and_bytes():
    """`telemetry.seriesBudget` knows what the mode costs Prometheus."""
    buckets = [1, 2, 3]
    http, passive = (
        expected_series([vendor("vendor-p", "10.8.0.0/16", inspect=mode)], buckets, targets=1)
        for mode in ("http", "passive")
    )
    assert passive.requests * 2 == http.requests * 3
    assert passive.setup_times * 2 == http.setup_times * 3
    # Each way: three results of SOCKS by two targets. Only http has Lua's errors.
    assert passive.connections - http.connections == 2 * 3 * 2 - 1


def test_the_bucket_annotation_names_the_metric_as_istio_does():
    """Istio matches histogram settings by prefix of its custom namespace."""
    assert json.loads(bucket_annotation((50, 100))) == {
        "istiocustom.istio_proxy_setup_milliseconds": [50, 100],
        "wasmcustom.istio_proxy_setup_milliseconds": [50, 100],
    }
