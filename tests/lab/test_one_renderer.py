"""The laptop's Envoy runs what the program deploys, but for the named stand-ins."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from components.attribution.discovery import STATS_TYPE
from components.attribution.labels import HTTP_STATS, OPAQUE_STATS
from components.attribution.standalone import filters_sent_apart
from lab.envoy import STAND_INS
from lab.loopback import get_json
from lab.plan import lab_settings
from lab.ports import Ports
from lab.system import STACK_FILE, load_settings, rendered_envoy
from render.program import run_program
from settings.loading import load_stack_file


def deployed_filters(stack_file: Path) -> dict[str, dict]:
    """The EnvoyFilters of the first crawler namespace, as the whole program declares them."""
    filters = run_program("lab", stack_file).of_kind("EnvoyFilter")
    return {found.inputs["metadata"]["name"]: found.inputs["spec"] for found in filters}


def patched(filters, apply_to):
    return [
        copy.deepcopy(patch["patch"]["value"])
        for name in sorted(filters)
        for patch in filters[name]["configPatches"]
        if patch["applyTo"] == apply_to
    ]


def undo_stand_ins(chains, clusters):
    """Take out what stands in for the mesh; leave the slots that istiod and Istio would fill."""
    for cluster in clusters:
        assert list(cluster.pop("original_dst_lb_config")) == ["upstream_port_override"]
    for chain in chains:
        last = chain["filters"][-1]["typed_config"]
        if not chain["name"].endswith("_passive"):
            (logger,) = last.pop("access_log")
            assert logger["name"] == "envoy.access_loggers.stats"
        for each in filters_sent_apart(chain):
            assert "path_config_source" in each["config_discovery"].pop("config_source")


def without_mesh_parts(chains):
    """Take out of the deployed chains what the stand-ins replace."""
    stats = {HTTP_STATS, OPAQUE_STATS}
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


@pytest.mark.parametrize("stack_file", [lambda _: STACK_FILE, passive_copy])
def test_chains_clusters_lua_and_wasm_are_the_deployed_ones(stack_file, tmp_path):
    """Nothing differs but the four stand-ins that the demo prints."""
    file = stack_file(tmp_path)
    deployed = deployed_filters(file)
    settings = lab_settings(load_stack_file(file), USUAL)
    lab = rendered_envoy(settings, ["127.1.0.10"], USUAL, tmp_path)
    (listener,) = lab.bootstrap["static_resources"]["listeners"]
    catch_all, *chains = listener["filter_chains"]
    clusters = lab.bootstrap["static_resources"]["clusters"]
    passthrough = clusters.pop(0)
    assert (catch_all["name"], passthrough["name"]) == (
        "virtualOutbound-catchall-tcp",
        "PassthroughCluster",
    )
    undo_stand_ins(chains, clusters)
    assert chains == without_mesh_parts(patched(deployed, "FILTER_CHAIN"))
    assert clusters == patched(deployed, "CLUSTER")

    extensions = [response["resources"][0] for response in lab.extensions.values()]
    for extension in extensions:
        extension.pop("@type")
    assert extensions == [
        extension
        for extension in patched(deployed, "EXTENSION_CONFIG")
        if extension["typed_config"]["@type"] != STATS_TYPE
    ]

    (merged,) = patched(deployed, "LISTENER")
    assert merged.items() <= listener.items()
    stand_in, *inherited = listener["listener_filters"]
    assert stand_in["name"] == "envoy.filters.listener.set_filter_state"
    assert inherited == patched(deployed, "LISTENER_FILTER")
    assert len(STAND_INS) == 5


def test_the_stand_in_for_istio_stats_has_its_labels_and_expressions(tmp_path):
    """A label or a CEL expression of the deployed istio.stats is the very one the lab counts by."""
    deployed = deployed_filters(STACK_FILE)
    lab = rendered_envoy(load_settings(USUAL), ["127.1.0.10"], USUAL, tmp_path)
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
                tag = {"name": name, "value_format": f"%CEL({expression})%"}
                assert json.dumps(tag) in text


def test_envoy_runs_that_configuration(sidecar):
    """What the running process reports is what was rendered: it dropped and added nothing."""
    dump = get_json(f"http://127.0.0.1:{sidecar.ports.envoy_admin}/config_dump")
    text = json.dumps(dump)
    rendered = rendered_envoy(load_settings(sidecar.ports), ["127.1.0.10"], sidecar.ports, Path())
    (listener,) = rendered.bootstrap["static_resources"]["listeners"]
    names = [chain["name"] for chain in listener["filter_chains"]]
    assert len(names) > 2 * len(load_settings(sidecar.ports).vendors)
    assert [name for name in names if f'"{name}"' not in text] == []
    assert "warming" not in text
