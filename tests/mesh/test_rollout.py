"""Inspect a vendor's HTTP on two of ten sidecars, and stop: the other eight change nothing."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mesh import crawler
from tests.mesh import load as loads
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.load import DRAIN_SECONDS, DRAINS_SOON, MARGIN_SECONDS
from tests.mesh.mesh import CRAWLERS, Mesh
from tests.mesh.vendors import Servers

Json = dict[str, Any]

TRACKS = {"stable": 8, "canary": 2}
TARGETS = {"vendor-i": ("10.7.0.10", 3128), "vendor-a": ("10.1.0.10", 3128)}


def rendered_for(mesh: Mesh, track: str, *, inspect: str = "connections") -> dict[str, Json]:
    """Return the resources for the pods of one track; their names end in the track's."""

    def edit(keys: Json) -> None:
        keys["crawlers"]["selector"] = {"app": "crawler", "track": track}
        vendor = next(one for one in keys["vendors"] if one["name"] == "vendor-i")
        # Another port than 3128 would change the listener itself.
        vendor |= {"inspect": inspect} | ({"httpPorts": [3128]} if inspect == "http" else {})

    files = {}
    for path, one in copy.deepcopy(mesh.stack(edit)).items():
        if one.get("kind") in ("EnvoyFilter", "Sidecar"):
            one["metadata"]["name"] += f"-{track}"
            files[f"{path} for {track}"] = one
    return files


@pytest.fixture(scope="module")
def tracks(mesh: Mesh, servers: Servers) -> Iterator[dict[str, list[Pod]]]:
    """Ten sidecars, and resources for each track instead of those for all pods."""
    whole = mesh.files
    mesh.up(rendered_for(mesh, "stable") | rendered_for(mesh, "canary"))
    labels = {
        f"{track}-{number}": {"track": track}
        for track, count in TRACKS.items()
        for number in range(count)
    }
    with mesh.pods(labels, annotations=DRAINS_SOON) as pods:
        yield {track: [pod for pod in pods if pod.name.startswith(track)] for track in TRACKS}
    mesh.up(whole)


def test_observe_then_inspect_and_back(
    mesh: Mesh, tracks: dict[str, list[Pod]], record: Record
) -> None:
    canary, stable = tracks["canary"], tracks["stable"]
    before = _held(mesh, stable)
    # Tunnels are opened before each step: in the opaque chain, then in the HTTP chain.
    tunnels_cut = {"connections -> http": 0, "http -> connections": 2 * len(canary)}
    for what, expected in tunnels_cut.items():
        inspect = what.rpartition(" ")[2]
        with loads.running(
            [*canary, *stable], TARGETS, requests_per_second=100, tunnels_each=2
        ) as load:
            mesh.until(load.all_open)
            load.mark()
            since = time.time()
            mesh.up(rendered_for(mesh, "stable") | rendered_for(mesh, "canary", inspect=inspect))
            mesh.settled(canary, since)
            time.sleep(DRAIN_SECONDS)
            mesh.until(lambda: not any(pod.is_draining() for pod in canary))
            mesh.until(lambda n=expected, own=load: len(own.cut) >= n)
            time.sleep(MARGIN_SECONDS)
            assert [_visibility(pod) for pod in canary] == [inspect] * 2
            record(
                what,
                {"failed requests": len(load.failed), "tunnels cut of 40": len(load.cut)},
            )
            assert load.failed == []
            assert [cut.target for cut in load.cut] == ["vendor-i"] * expected
            assert _held(mesh, stable) == before
            assert [_visibility(pod) for pod in stable[:2]] == ["connections"] * 2


def _visibility(pod: Pod) -> str:
    """Return whether the chain that took a request to vendor-i reads HTTP."""
    spoken = crawler.http(pod, *TARGETS["vendor-i"])
    assert spoken.code == 200
    entry = pod.entry(spoken.source)
    assert entry is not None
    return "http" if entry["chain"].endswith("_http") else "connections"


def _held(mesh: Mesh, pods: list[Pod]) -> dict[str, dict[str, str]]:
    """Return the digests of all resources that each sidecar was last sent."""
    held: dict[str, dict[str, str]] = {pod.node: {} for pod in pods}
    for event in mesh.passed():
        if event["what"] == "push" and event["node"] in held:
            own = held[event["node"]]
            for name in event.get("removed", ()):
                own.pop(f"{event['type']} {name}", None)
            for name, digest in event.get("digests", {}).items():
                own[f"{event['type']} {name}"] = digest
    assert all(held.values()), CRAWLERS
    return held
