from __future__ import annotations

import json

import pytest
import yaml

from components.mesh.values import (
    base_values,
    cni_values,
    istiod_values,
    last_scrape_seconds,
    required_values,
)
from settings.istio import Istio
from settings.loading import parse_settings
from settings.section import Quantities, Resources

BUCKETS = (50, 100, 250)
REPOSITORY = "https://istio-release.storage.googleapis.com/charts"


def all_values(istio):
    return [base_values(istio), istiod_values(istio, BUCKETS), cni_values(istio)]


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
    folder = istiod_values(Istio(chart_source="./charts"), BUCKETS)["global"]
    assert folder["tag"] == Istio().version
    assert "testing" not in folder["hub"]
    assert "tag" not in istiod_values(Istio(chart_source=REPOSITORY), BUCKETS)["global"]
    assert cni_values(Istio(chart_source="./charts"))["global"] == {
        key: folder[key] for key in ("hub", "tag")
    }


def test_sidecars_count_what_the_product_needs():
    """Without these Envoy counts and exports nothing, in Istio's buckets."""
    values = istiod_values(Istio(), BUCKETS)
    required = required_values(BUCKETS)
    matcher = required["meshConfig"]["defaultConfig"]["proxyStatsMatcher"]
    assert values["meshConfig"]["defaultConfig"]["proxyStatsMatcher"] == matcher
    assert values["sidecarInjectorWebhook"] == required["sidecarInjectorWebhook"]
    annotations = values["sidecarInjectorWebhook"]["injectedAnnotations"]
    bounds = json.loads(annotations["sidecar.istio.io/statsHistogramBuckets"])
    assert [*bounds.values()] == [list(BUCKETS)] * 2


def test_every_sidecar_knows_the_passive_modules_labels():
    """One that started without them would count a vendor's first passive request unlabelled."""
    for values in (istiod_values(Istio(), BUCKETS), required_values(BUCKETS)):
        tags = values["meshConfig"]["defaultConfig"]["extraStatTags"]
        assert {"proxy_vendor", "proxy_outcome", "response_code", "source_workload"} <= set(tags)


def test_a_sidecar_outlives_its_crawler_until_it_was_scraped():
    """Istio's native sidecars end at once, and with them what no scrape has seen."""
    stack = {"cluster": "c", "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]}
    settings = parse_settings(stack | {"prometheus": {"scrapeInterval": "1m"}})
    seconds = last_scrape_seconds(settings)
    assert seconds == 65
    values = istiod_values(Istio(), BUCKETS, seconds)
    config = values["meshConfig"]["defaultConfig"]
    assert config["terminationDrainDuration"] == "65s"  # protobuf knows no "1m5s"
    assert "proxyStatsMatcher" in config
    # No preStop: one that drains makes the agent leave without waiting.
    assert set(values["global"]["proxy"]["lifecycle"]) == {"postStart"}


def test_the_pods_of_anothers_mesh_end_as_they_did():
    """Every pod of that mesh would end later, for our numbers: no value that is required."""
    stack = {"cluster": "c", "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]}
    settings = parse_settings(stack | {"istio": {"install": False, "cni": True}})
    assert last_scrape_seconds(settings) is None
    required = required_values(BUCKETS)
    assert "terminationDrainDuration" not in required["meshConfig"]["defaultConfig"]
    assert "global" not in required


def test_sidecars_may_end_at_once():
    """Who would rather have pods end at once says so, and gets Istio's own hooks."""
    stack = {"cluster": "c", "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]}
    settings = parse_settings(stack | {"telemetry": {"delayPodTermination": False}})
    values = istiod_values(Istio(), BUCKETS, last_scrape_seconds(settings))
    assert "terminationDrainDuration" not in values["meshConfig"]["defaultConfig"]
    assert "lifecycle" not in values["global"]["proxy"]


def test_sidecars_get_the_stacks_resources():
    """The largest cost of the mesh is what the stack file says it is."""
    proxy = istiod_values(Istio(), BUCKETS)["global"]["proxy"]
    assert proxy["resources"]["requests"] == {"cpu": "100m", "memory": "200M"}


def test_an_upgrade_does_not_lock_the_configuration():
    """While istiod is away a webhook that fails closed would bar every change, also the repair."""
    for values in (base_values(Istio()), istiod_values(Istio(), BUCKETS)):
        assert values["base"]["validationFailurePolicy"] == "Ignore"
