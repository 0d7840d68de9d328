"""What istiod does with the program's resources: istio.stats, validation, injection."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.attribution.bootstrap import VARIABLE, annotations_given
from components.attribution.discovery import STATS_TYPE
from components.attribution.labels import HTTP_STATS, OPAQUE_STATS
from components.attribution.outcome import PROXY_VENDOR
from components.attribution.passive import EXTENSION as PASSIVE
from components.attribution.passive import WASM_TYPE
from components.attribution.standalone import filters_sent_apart
from components.attribution.stats import (
    DROPPED_METRICS,
    REMOVED_TAGS,
    SETUP_METRIC,
    http_plugin_config,
    opaque_plugin_config,
)
from deployment import annotations_of
from settings.loading import ROOT, load_stack_file
from tests.mesh.kubelet import proxy_of
from tests.mesh.mesh import CRAWLERS, STACK_FILE, Mesh, rendered

Json = dict[str, Any]

STACKS = {
    "mesh": STACK_FILE,
    "dev": ROOT / "Pulumi.dev.yaml",
    "prod": ROOT / "Pulumi.prod.yaml",
}
EVERY_FILTERS_WARNING = "EnvoyFilter exposes internal implementation details"


@pytest.fixture(scope="module")
def chains(mesh: Mesh) -> Iterator[dict[str, Json]]:
    """The program's filter chains by name, as istiod sent them."""
    with mesh.pod("crawler-contract") as pod:
        listener = mesh.sent(pod, "Listener", "virtualOutbound")
        yield {
            one["name"]: one
            for one in listener["filter_chains"]
            if one["name"].startswith("proxy-vendor_")
        }


@pytest.fixture(scope="module")
def stats(mesh: Mesh, chains: dict[str, Json]) -> dict[str, Json]:
    """The configurations of istio.stats by name, as istiod sent them by ECDS."""
    with mesh.pod("crawler-stats") as pod:
        return {
            name: mesh.sent(pod, "TypedExtensionConfig", name)["typed_config"]
            for name in (HTTP_STATS, OPAQUE_STATS)
        }


def test_every_chain_asks_for_what_counts(chains: dict[str, Json]) -> None:
    counting = {
        "http": (HTTP_STATS, STATS_TYPE),
        "opaque": (OPAQUE_STATS, STATS_TYPE),
        "passive": (PASSIVE, WASM_TYPE),
    }
    for name, chain in chains.items():
        wanted, type_ = counting[name.rpartition("_")[2]]
        asked = [one for one in filters_sent_apart(chain) if one["name"] == wanted]
        assert [one["config_discovery"]["type_urls"][-1] for one in asked] == [type_], name


def test_the_passive_module_arrives_as_rendered(mesh: Mesh) -> None:
    """With `fail_open`, without which Envoy would cut connections after a trap."""
    (patch,) = mesh.files["crawlers/EnvoyFilter-proxy-passive.yaml"]["spec"]["configPatches"]
    with mesh.pod("crawler-module") as pod:
        sent = mesh.sent(pod, "TypedExtensionConfig", PASSIVE)
    assert sent["name"] == patch["patch"]["value"]["name"]
    assert sent["typed_config"] == patch["patch"]["value"]["typed_config"]
    assert sent["typed_config"]["config"]["fail_open"] is True


def test_istio_stats_arrives_as_rendered(stats: dict[str, Json]) -> None:
    """Envoy asks for it by ECDS, for HTTP and for opaque connections, and istiod knows the type."""
    settings = load_stack_file(STACK_FILE)
    assert stats == {
        HTTP_STATS: http_plugin_config(
            with_targets=True, timeout_after_seconds=settings.telemetry.timeout_after
        ),
        OPAQUE_STATS: opaque_plugin_config(),
    }


def test_istio_stats_writes_the_contract_s_labels(stats: dict[str, Json]) -> None:
    """The expected names and labels are written out here, apart from the code's constants."""
    http = stats[HTTP_STATS]
    by_name = {one.get("name"): one for one in http["metrics"]}
    assert set(by_name[None]["tags_to_remove"]) == set(REMOVED_TAGS)
    assert {"destination_service", "destination_service_name"} <= set(REMOVED_TAGS)
    assert all(by_name[name]["drop"] for name in DROPPED_METRICS)
    assert set(by_name["requests_total"]["dimensions"]) == {
        *("proxy_vendor", "proxy_visibility", "proxy_outcome", "proxy_pool", "proxy_target"),
        "response_code",
    }
    assert by_name["requests_total"]["dimensions"]["proxy_vendor"] == PROXY_VENDOR
    # A counter is the default, which istiod leaves out.
    definitions = {one["name"]: one.get("type", "COUNTER") for one in http["definitions"]}
    sizes = ("proxy_request_bytes_total", "proxy_response_bytes_total")
    assert definitions == {SETUP_METRIC: "HISTOGRAM", **dict.fromkeys(sizes, "COUNTER")}
    for name in sizes:
        assert set(by_name[name]["dimensions"]) == {
            *("proxy_vendor", "proxy_visibility", "proxy_result", "proxy_pool", "proxy_target"),
            *("source_workload", "source_workload_namespace"),
        }
    assert http["disable_host_header_fallback"] is True
    opaque = stats[OPAQUE_STATS]
    dimensions = [one["dimensions"] for one in opaque["metrics"] if "dimensions" in one]
    assert dimensions == [{"proxy_vendor": PROXY_VENDOR, "proxy_visibility": "'opaque'"}]


@pytest.mark.parametrize("stack", STACKS)
def test_istiod_validates_every_rendered_resource(mesh: Mesh, stack: str) -> None:
    """istiod's webhook refuses none, and only warns that each is an EnvoyFilter."""
    path: Path = STACKS[stack]
    wanted = [one for one in rendered(path).values() if "istio.io" in str(one.get("apiVersion"))]
    assert {"EnvoyFilter", "Sidecar"} <= {one["kind"] for one in wanted}
    mesh.api.warnings.clear()
    for one in wanted:
        one["metadata"]["namespace"] = CRAWLERS
        mesh.api.apply(one, dry_run=True)
    assert [one for one in mesh.api.warnings if EVERY_FILTERS_WARNING not in one] == []


def test_istiod_warns_of_a_field_it_does_not_know(mesh: Mesh) -> None:
    """So the test above proves something: Istio would drop such a field silently."""
    filters = [one for one in mesh.files.values() if one.get("kind") == "EnvoyFilter"]
    wrong = copy.deepcopy(filters[0])
    wrong["metadata"]["namespace"] = CRAWLERS
    wrong["spec"]["configPatches"][0]["patch"]["value"]["no_such_field"] = 1
    mesh.api.warnings.clear()
    mesh.api.apply(wrong, dry_run=True)
    assert any("no_such_field" in one for one in mesh.api.warnings)


def _job_pod(mesh: Mesh, name: str, **options: Any) -> Json:
    manifest = mesh.pod_manifest(name, **options)
    manifest["spec"]["restartPolicy"] = "Never"
    manifest["metadata"]["ownerReferences"] = [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "crawl", "uid": "1", "controller": True}
    ]
    return manifest


def test_a_job_s_pod_can_complete(mesh: Mesh) -> None:
    """Its proxy is a native sidecar, which ends with the crawler and lets the Job complete."""
    made = mesh.injected(_job_pod(mesh, "crawl-1"))
    assert [one["name"] for one in made["spec"]["containers"]] == ["crawler"]
    proxy = proxy_of(made)
    assert proxy["restartPolicy"] == "Always"
    assert "/healthz/ready" in str(proxy["startupProbe"])


def test_without_native_sidecars_the_crawler_is_held(mesh: Mesh) -> None:
    """On nodes too old for native sidecars, the crawler waits until the proxy is ready."""
    annotations = {"sidecar.istio.io/nativeSidecar": "false"}
    made = mesh.injected(_job_pod(mesh, "crawl-2", annotations=annotations))
    first, *_ = made["spec"]["containers"]
    assert first["name"] == "istio-proxy"
    assert first["lifecycle"]["postStart"]["exec"]["command"][:2] == ["pilot-agent", "wait"]


def test_what_injection_gives_every_crawler(mesh: Mesh) -> None:
    """The program's values reach the pod: resources, histogram buckets, exported statistics."""
    made = mesh.injected(mesh.pod_manifest("crawl-3"))
    proxy = proxy_of(made)
    values = mesh.files["helm/istiod.yaml"]["values"]
    assert proxy["resources"]["limits"] == values["global"]["proxy"]["resources"]["limits"]
    (given,) = [one["value"] for one in proxy["env"] if one["name"] == VARIABLE]
    settings = load_stack_file(STACK_FILE)
    assert annotations_given(given) == annotations_of(settings)
