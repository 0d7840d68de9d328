"""The laptop's Envoy runs what the program deploys, but for the named stand-ins."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from components.attribution.discovery import STATS_TYPE
from components.attribution.groups import DESTINATION_PREFIX
from components.attribution.labels import HTTP_STATS, OPAQUE_STATS
from components.attribution.names import dns_caches, dns_resolver
from components.attribution.standalone import WORKLOAD_TAGS, filters_sent_apart
from lab.endpoints import lab_settings, named_sockets
from lab.envoy import STAND_INS, STATS_STAND_IN, stand_ins
from lab.loopback import get_json
from lab.ports import Ports
from lab.system import STACK_FILE, load_settings, rendered_envoy
from render.program import run_program
from settings.loading import load_stack_file


def deployed_filters(stack_file: Path) -> dict[str, dict]:
    """The EnvoyFilters of the first crawler namespace, as the whole program declares them."""
    filters = run_program("lab", stack_file).of_kind("EnvoyFilter")
    return {found.inputs["metadata"]["name"]: found.inputs["spec"] for found in filters}


def patched(filters, apply_to, listener=None):
    """Return what patches of a kind hold, of all listeners or of one."""
    return [
        copy.deepcopy(patch["patch"]["value"])
        for name in sorted(filters)
        for patch in filters[name]["configPatches"]
        if patch["applyTo"] == apply_to
        and listener in (None, patch["match"].get("listener", {}).get("name"))
    ]


def undo_stand_ins(chains, clusters, native_stats):
    """Take out what stands in for the mesh; leave the slots that istiod and Istio would fill."""
    for cluster in clusters:
        if cluster.get("type") == "ORIGINAL_DST":
            assert list(cluster.pop("original_dst_lb_config")) == ["upstream_port_override"]
    for cache in dns_caches([chains, clusters]):
        assert len(cache["typed_dns_resolver_config"]["typed_config"]["resolvers"]) == 1
        cache["typed_dns_resolver_config"] = dns_resolver()
    for chain in chains:
        last = chain["filters"][-1]["typed_config"]
        # A destination's connections are counted by its cluster alone.
        if native_stats:
            assert "access_log" not in last
        elif not chain["name"].endswith("_passive") and DESTINATION_PREFIX not in chain["name"]:
            (logger,) = last.pop("access_log")
            assert logger["name"] == "envoy.access_loggers.stats"
        for each in filters_sent_apart(chain):
            assert "path_config_source" in each["config_discovery"].pop("config_source")


def without_mesh_parts(chains, native_stats):
    """Take out of the deployed chains what the stand-ins replace."""
    stats = set() if native_stats else {HTTP_STATS, OPAQUE_STATS}
    for chain in chains:
        chain["filters"] = [f for f in chain["filters"] if f["name"] not in stats]
        manager = chain["filters"][-1]["typed_config"]
        if "http_filters" in manager:
            manager["http_filters"] = [f for f in manager["http_filters"] if f["name"] not in stats]
        for each in filters_sent_apart(chain):
            each["config_discovery"].pop("config_source")
    return chains


def passive_copy(folder: Path) -> Path:
    """Write the lab's stack file with a passive vendor in the place of one that is not read."""
    text = STACK_FILE.read_text()
    assert text.count("inspect: connections") == 1
    file = folder / "Pulumi.lab.yaml"
    file.write_text(text.replace("inspect: connections", "inspect: passive"))
    return file


USUAL = Ports()  # with another base the lab moves the vendors' ports; nothing listens here


@pytest.mark.parametrize("native_stats", [False, True])
@pytest.mark.parametrize("stack_file", [lambda _: STACK_FILE, passive_copy])
def test_chains_clusters_lua_and_wasm_are_the_deployed_ones(stack_file, native_stats, tmp_path):
    """Nothing differs but the stand-ins that the demo prints; Envoy's own istio.stats is one less.

    No test here runs an Envoy with istio.stats: none can be installed by pip.
    """
    file = stack_file(tmp_path)
    deployed = deployed_filters(file)
    settings = lab_settings(load_stack_file(file), USUAL)
    lab = rendered_envoy(settings, ["127.1.0.10"], USUAL, tmp_path, native_stats=native_stats)
    listeners = lab.bootstrap["static_resources"]["listeners"]
    clusters = lab.bootstrap["static_resources"]["clusters"]
    named = [f"{address}_{port}" for address, port in named_sockets(settings.vendors)]
    assert [one["name"] for one in listeners] == ["virtualOutbound", *named]
    istios = [clusters.pop(0)["name"] for _ in [None, *listeners]]
    assert istios[:2] == ["PassthroughCluster", "BlackHoleCluster"]
    assert all(name.startswith("outbound|") for name in istios[2:])
    (listener, *_), nets = listeners, [one["filter_chains"].pop(0) for one in listeners]
    assert nets[0]["name"] == "virtualOutbound-catchall-tcp"
    chains = [chain for one in listeners for chain in one["filter_chains"]]
    undo_stand_ins(chains, clusters, native_stats)
    for one in listeners:
        own = patched(deployed, "FILTER_CHAIN", one["name"])
        assert one["filter_chains"] == without_mesh_parts(own, native_stats)
        (merged,) = patched(deployed, "LISTENER", one["name"]) or [{}]
        assert merged.items() <= one.items()
    assert clusters == patched(deployed, "CLUSTER")

    extensions = [response["resources"][0] for response in lab.extensions.values()]
    for extension in extensions:
        extension.pop("@type")
    assert extensions == [
        extension
        for extension in patched(deployed, "EXTENSION_CONFIG")
        if native_stats or extension["typed_config"]["@type"] != STATS_TYPE
    ]

    stand_in = listener["listener_filters"].pop(0)
    assert stand_in["name"] == "envoy.filters.listener.set_filter_state"
    for one in listeners:
        assert one["listener_filters"] == patched(deployed, "LISTENER_FILTER", one["name"])
    assert len(STAND_INS) == 8


def test_the_stand_in_for_istio_stats_has_its_labels_and_expressions(tmp_path):
    """A label or a CEL expression of the deployed istio.stats is the very one the lab counts by."""
    deployed = deployed_filters(STACK_FILE)
    lab = rendered_envoy(load_settings(USUAL), ["127.1.0.10"], USUAL, tmp_path, native_stats=False)
    text = json.dumps(lab.bootstrap)
    plugins = [
        extension["typed_config"]
        for extension in patched(deployed, "EXTENSION_CONFIG")
        if extension["typed_config"]["@type"] == STATS_TYPE
    ]
    assert len(plugins) == 2
    for plugin in plugins:
        for metric in plugin["metrics"]:
            for name, expression in metric.get("dimensions", {}).items():
                # Istio names the workload; the lab, which has none, writes its name.
                asked = f"'{WORKLOAD_TAGS[name]}'" if name in WORKLOAD_TAGS else expression
                tag = {"name": name, "value_format": f"%CEL({asked})%"}
                assert json.dumps(tag) in text


def test_envoys_own_istio_stats_leave_under_istios_prefix(tmp_path):
    """Else Envoy would count and export nothing, or a set-up time in Envoy's own buckets."""
    lab = rendered_envoy(load_settings(USUAL), ["127.1.0.10"], USUAL, tmp_path, native_stats=True)
    stats = lab.bootstrap["stats_config"]
    assert {"prefix": "istiocustom."} in stats["stats_matcher"]["inclusion_list"]["patterns"]
    prefixes = [one["match"]["prefix"] for one in stats["histogram_bucket_settings"]]
    assert prefixes == ["istiocustom.", "wasmcustom.istio_proxy_setup_milliseconds"]
    assert {*STAND_INS} - {*stand_ins(native_stats=True)} == {STATS_STAND_IN}
    assert stand_ins(native_stats=False) == STAND_INS


def test_envoy_runs_that_configuration(sidecar):
    """What the running process reports is what was rendered: it dropped and added nothing."""
    dump = get_json(f"http://127.0.0.1:{sidecar.ports.envoy_admin}/config_dump")
    text = json.dumps(dump)
    rendered = rendered_envoy(load_settings(sidecar.ports), ["127.1.0.10"], sidecar.ports, Path())
    names = [
        chain["name"]
        for listener in rendered.bootstrap["static_resources"]["listeners"]
        for chain in listener["filter_chains"]
        if "name" in chain
    ]
    assert len(names) > 2 * len(load_settings(sidecar.ports).vendors)
    assert [name for name in names if f'"{name}"' not in text] == []
    assert "warming" not in text
