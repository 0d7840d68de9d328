from __future__ import annotations

import json

import pytest
import yaml

from components.attribution.bootstrap import BUCKETS, STATS
from components.mesh.values import (
    base_values,
    charts_of,
    cni_values,
    istiod_values,
    last_scrape_seconds,
    optional_values,
)
from settings.istio import Istio
from settings.loading import SettingsError, parse_settings
from settings.section import Quantities, Resources

REPOSITORY = "https://istio-release.storage.googleapis.com/charts"


def all_values(istio):
    return [base_values(istio), istiod_values(istio), cni_values(istio)]


def leaves(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("source", [REPOSITORY, "./charts", "/charts"])
def test_no_text_that_yaml_reads_as_something_else(source):
    """`"2"` or `"y"` passes a preview and leaves the release half applied."""
    two = Quantities(cpu="2", memory="1G")
    istio = Istio(chart_source=source, sidecar=Resources(requests=two, limits=two))
    for values in all_values(istio):
        for leaf in leaves(values):
            if isinstance(leaf, str) and leaf and not leaf.startswith("{"):
                assert yaml.safe_load(leaf) == leaf


def test_charts_from_a_folder_name_their_images():
    """Charts in Istio's own tree say `latest` of a testing registry; released ones are right."""
    folder = istiod_values(Istio(chart_source="./charts"))["global"]
    assert folder["tag"] == Istio().version
    assert "testing" not in folder["hub"]
    assert "tag" not in istiod_values(Istio(chart_source=REPOSITORY))["global"]
    assert cni_values(Istio(chart_source="./charts"))["global"] == {
        key: folder[key] for key in ("hub", "tag")
    }


def test_other_pods_of_the_mesh_export_what_they_did():
    """Crawlers' statistics come by a ProxyConfig of their namespaces, not by the mesh's values."""
    values = json.dumps(istiod_values(Istio()))
    assert "proxyStatsMatcher" not in values
    assert "extraStatTags" not in values
    assert "injectedAnnotations" not in values


def test_a_sidecar_outlives_its_crawler_until_it_was_scraped():
    """Istio's native sidecars end at once, and with them what no scrape has seen."""
    stack = {"cluster": "c", "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]}
    settings = parse_settings(stack | {"prometheus": {"scrapeInterval": "1m"}})
    seconds = last_scrape_seconds(settings)
    assert seconds == 65
    values = istiod_values(Istio(), seconds)
    config = values["meshConfig"]["defaultConfig"]
    assert config["terminationDrainDuration"] == "65s"  # protobuf knows no "1m5s"
    # No preStop: one that drains makes the agent leave without waiting.
    assert set(values["global"]["proxy"]["lifecycle"]) == {"postStart"}


def test_the_pods_of_anothers_mesh_end_as_they_did():
    """Every pod of that mesh would end later, for our numbers: an optional value, if asked for."""
    stack = {"cluster": "c", "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]}
    stack |= {"istio": {"install": False, "cni": True}}
    unasked = last_scrape_seconds(parse_settings(stack))
    assert unasked is None
    held = {"holdApplicationUntilProxyStarts": True}
    assert optional_values(unasked) == {"meshConfig": {"defaultConfig": held}}
    asked = parse_settings(stack | {"telemetry": {"delayPodTermination": True}})
    values = optional_values(last_scrape_seconds(asked))
    assert values["meshConfig"]["defaultConfig"] == held | {"terminationDrainDuration": "20s"}
    assert set(values["global"]["proxy"]["lifecycle"]) == {"postStart"}


def test_sidecars_may_end_at_once():
    """Who would rather have pods end at once says so, and gets Istio's own hooks."""
    stack = {"cluster": "c", "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]}
    settings = parse_settings(stack | {"telemetry": {"delayPodTermination": False}})
    values = istiod_values(Istio(), last_scrape_seconds(settings))
    assert "terminationDrainDuration" not in values["meshConfig"]["defaultConfig"]
    assert "lifecycle" not in values["global"]["proxy"]


def test_an_upgrade_does_not_lock_the_configuration():
    """While istiod is away a webhook that fails closed would bar every change, also the repair."""
    for values in (base_values(Istio()), istiod_values(Istio())):
        assert values["base"]["validationFailurePolicy"] == "Ignore"


def charts(**istio):
    values = {
        "cluster": "dev",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "istio": istio,
    }
    return {chart.name: chart.values for chart in charts_of(parse_settings(values))}


def test_every_chart_knows_the_platform():
    """Each chart of Istio's merges the platform's values into its own."""
    values = charts(platform="gke", imagePullSecrets=["registry"])
    assert {chart["global"]["platform"] for chart in values.values()} == {"gke"}
    assert all(chart["global"]["imagePullSecrets"] == ["registry"] for chart in values.values())
    assert all(
        "platform" not in chart["global"] for chart in charts().values() if "global" in chart
    )
    # The charts have no profile for it, and refuse what they do not know.
    assert charts(platform="eks") == charts()


def test_another_hub_is_for_what_has_images():
    values = charts(hub="registry.example/istio")
    assert values["istiod"]["global"]["hub"] == values["cni"]["global"]["hub"]
    assert values["istiod"]["global"]["hub"] == "registry.example/istio"
    assert "hub" not in values["base"]["global"]


def test_free_values_are_merged_last():
    tracing = {"meshConfig": {"enableTracing": True, "defaultConfig": {"concurrency": 1}}}
    values = charts(values={"istiod": {**tracing, "traceSampling": 2}, "cni": {"repair": {}}})
    config = values["istiod"]["meshConfig"]
    assert config["enableTracing"] is True
    assert config["defaultConfig"]["concurrency"] == 1
    assert config["defaultConfig"]["holdApplicationUntilProxyStarts"] is True
    assert values["istiod"]["traceSampling"] == 2
    assert values["cni"]["repair"] == {}


@pytest.mark.parametrize(
    ("chart", "path", "reason"),
    [
        ("istiod", "meshConfig.defaultConfig.holdApplicationUntilProxyStarts", "set by this"),
        ("istiod", "meshConfig", "set by this"),
        ("istiod", "meshConfig.defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE", "dnsCapture"),
        ("istiod", "meshConfig.outboundTrafficPolicy.mode", "network.egress"),
        ("istiod", "telemetry.v2.enabled", "end Istio's metrics"),
        ("istiod", "global.proxy.excludeOutboundPorts", "out of the sidecar"),
        ("istiod", "global.hub", "istio.hub"),
        ("istiod", "resources.limits.cpu", "set by this"),
        ("istiod", "pilot.resources.limits.cpu", "set by this"),
        ("cni", "cni.excludeNamespaces", "set by this"),
        ("cni", "cni.ambient.enabled", "past the sidecars"),
        ("cni", "ambient.enabled", "past the sidecars"),
        ("base", "base.validationFailurePolicy", "set by this"),
    ],
)
def test_a_free_value_that_ends_the_attribution_is_refused(chart, path, reason):
    """By name: the charts would take it, and vendors' metrics end in silence."""
    value = "x"
    for key in reversed(path.split(".")):
        value = {key: value}
    with pytest.raises(SettingsError, match=reason) as refused:
        charts(values={chart: value})
    (finding,) = refused.value.findings
    assert finding.startswith(f"istio.values.{chart}.{path}: ")
    assert "; " in finding


@pytest.mark.parametrize("key", [STATS, BUCKETS])
def test_an_annotation_for_every_pod_is_refused(key):
    """It would win over what the crawlers' ProxyConfig says."""
    injected = {"sidecarInjectorWebhook": {"injectedAnnotations": {key: "x"}}}
    with pytest.raises(SettingsError, match="take the place of crawlers' own"):
        charts(values={"istiod": injected})


@pytest.mark.parametrize(
    ("version", "other", "newest"),
    [
        ("1.30.10", "1.30.9", "1.30.10"),
        ("1.30.2", "1.31.0-rc.1", "1.31.0-rc.1"),
        ("1.31.0", "1.31.0-rc.1", "1.31.0"),
    ],
)
def test_what_two_control_planes_share_is_of_the_newer(version, other, newest):
    """An older CNI agent is not made for a newer istiod."""
    second = {"revision": "next", "version": other}
    values = {"cluster": "c", "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]}
    settings = parse_settings(values | {"istio": {"version": version, "otherRevision": second}})
    charts = {one.release: one.version for one in charts_of(settings)}
    assert charts == {
        **{"istio-base": newest, "istio-cni": newest},
        **{"istiod": version, "istiod-next": other},
    }
