"""Envoy refuses an update of each kind: running sidecars keep their configuration.

Such an update passes the program's guard and istiod's webhook by mistake, or was written by hand.
"""

from __future__ import annotations

import copy
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from components.prometheus.config import ISTIOD_METRICS
from tests.mesh.conftest import Record
from tests.mesh.kubelet import READY_SECONDS, Pod
from tests.mesh.mesh import Mesh
from tests.mesh.test_fail_open import PASSIVE_PROXY, PROXY, WAYS, counted, failing_ways
from tests.mesh.vendors import Servers
from tests.rules.exposed import ISTIOD, missing

Json = dict[str, Any]

VENDOR = "crawlers/EnvoyFilter-proxy-vendor-vendor-a.yaml"
PASSIVE = "crawlers/EnvoyFilter-proxy-passive.yaml"
ECDS = "TypedExtensionConfig"
PROXIES = {"vendor-a": PROXY, "vendor-p": PASSIVE_PROXY}
NOT_READY_SECONDS = 8.0  # a sidecar that becomes ready takes two seconds


def _values(files: dict[str, Json], apply_to: str) -> list[Json]:
    return [
        patch["patch"]["value"]
        for patch in files[VENDOR]["spec"]["configPatches"]
        if patch["applyTo"] == apply_to
    ]


def _two_chains_alike(files: dict[str, Json]) -> None:
    http, opaque = _values(files, "FILTER_CHAIN")
    http["filter_chain_match"] = opaque["filter_chain_match"]


def _impossible_cluster(files: dict[str, Json]) -> None:
    (cluster,) = _values(files, "CLUSTER")
    cluster["lb_policy"] = "ROUND_ROBIN"  # impossible for ORIGINAL_DST


def _lua_that_does_not_compile(files: dict[str, Json]) -> None:
    (extension,) = _values(files, "EXTENSION_CONFIG")
    extension["typed_config"]["default_source_code"]["inline_string"] += "\nthis is no Lua"


def _module(files: dict[str, Json]) -> Json:
    """Return the configuration of the passive module."""
    (patch,) = files[PASSIVE]["spec"]["configPatches"]
    return dict(patch["patch"]["value"]["typed_config"]["config"])


def _module_that_does_not_load(files: dict[str, Json]) -> None:
    _module(files)["vm_config"]["code"]["local"]["inline_bytes"] = b64encode(b"no wasm").decode()


def _line_that_it_cannot_read(files: dict[str, Json]) -> None:
    _module(files)["configuration"]["value"] += "no such directive\n"


@dataclass(frozen=True)
class Refused:
    """What Envoy refuses, and how istiod names its kind."""

    kind: str
    type: str
    vendor: str
    spoil: Callable[[dict[str, Json]], None]
    starting_ones_count: bool = True


EDITS = {
    "lds": Refused("lds", "Listener", "vendor-a", _two_chains_alike),
    "cds": Refused("cds", "Cluster", "vendor-a", _impossible_cluster),
    "ecds, Lua": Refused("ecds", ECDS, "vendor-a", _lua_that_does_not_compile),
    "ecds, passive module": Refused(
        "ecds", ECDS, "vendor-p", _module_that_does_not_load, starting_ones_count=False
    ),
    "ecds, its configuration": Refused(
        "ecds", ECDS, "vendor-p", _line_that_it_cannot_read, starting_ones_count=False
    ),
}


@pytest.fixture(scope="module")
def pod(mesh: Mesh, servers: Servers) -> Iterator[Pod]:
    with mesh.pod("crawler-rejects") as running:
        yield running


@pytest.mark.parametrize("what", EDITS)
def test_a_rejected_update(mesh: Mesh, pod: Pod, what: str, record: Record) -> None:
    refused = EDITS[what]
    kind, proxy = refused.kind, PROXIES[refused.vendor]
    whole = mesh.files
    files = copy.deepcopy(whole)
    refused.spoil(files)
    since = time.time()
    before = _rejects(mesh, kind)
    try:
        mesh.up(files)
        mesh.until(lambda: _nacked(mesh, pod, refused.type, since), why="Envoy did not refuse it")
        mesh.until(lambda: _rejects(mesh, kind) > before, why="istiod does not count it")
        _passes_and_counts(mesh, pod, refused.vendor)
        with mesh.pod("crawler-starting", wait=False) as starting:
            seconds = READY_SECONDS if kind == "ecds" else NOT_READY_SECONDS
            deadline = time.monotonic() + seconds
            while not (ready := starting.is_ready()) and time.monotonic() < deadline:
                time.sleep(0.1)
            failing = failing_ways(starting, proxy)
            if kind == "ecds" and refused.starting_ones_count:
                mesh.until(lambda: counted(starting, refused.vendor) == WAYS)
            elif kind == "ecds":
                assert counted(starting, refused.vendor) == 0
        record(
            what,
            {
                "running sidecars": "keep what they have",
                "a starting sidecar is ready": ready,
                "of it fails": ", ".join(failing) or "nothing",
                "it counts": ready and refused.starting_ones_count,
                "seen as": f'pilot_total_xds_rejects{{type="{kind}"}}',
            },
        )
        if kind == "ecds":
            assert ready
            assert failing == []
            # istiod exposes the counter only after its first refusal, so it is checked here.
            gone = missing(ISTIOD, mesh.istiod("/metrics"), "(pilot|istio|galley|sidecar)_.+")
            assert {line for line in gone if line.split()[0] in ISTIOD_METRICS} == set()
    finally:
        since = time.time()
        mesh.up(whole)
        mesh.settled([pod], since)
    _passes_and_counts(mesh, pod, refused.vendor)


def _passes_and_counts(mesh: Mesh, pod: Pod, vendor: str) -> None:
    before = counted(pod, vendor)
    assert failing_ways(pod, PROXIES[vendor]) == []
    mesh.until(lambda: counted(pod, vendor) == before + WAYS)


def _nacked(mesh: Mesh, pod: Pod, type_: str, since: float) -> bool:
    return any(
        event["what"] == "nack" and event["type"] == type_
        for event in mesh.passed()
        if event["node"] == pod.node and event["time"] > since
    )


def _rejects(mesh: Mesh, kind: str) -> float:
    lines = mesh.istiod("/metrics").splitlines()
    name = f'pilot_total_xds_rejects{{type="{kind}"}} '
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))
